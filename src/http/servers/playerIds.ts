import { createHash } from 'node:crypto';
import type { CallOptions } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';
import { findCached, withHyphens, type Player } from '#src/domain/playerLists.js';
import { readProperties } from '#src/domain/serverProperties.js';
import type { Api } from '../deps.js';
import { jsonConfig } from '../files/jsonConfig.js';
import type { ServerFolder } from '../files/serverFolder.js';
import { loadText } from '../files/textFile.js';
import { inUtf8 } from '../files/utf8.js';

/**
 * Who that is, as the server itself would find out: by those it has met, then by its mode. Rejects with
 * `player-unknown`, `upstream-failed`, and like every call about files.
 */
export async function identifyPlayer(
  api: Pick<Api, 'gateway' | 'findProfile'>,
  folder: ServerFolder,
  name: string,
  call: CallOptions,
): Promise<Player> {
  const cached = await findInCache(api, folder, name, call);
  if (cached) return cached;
  const properties = readProperties((await loadText(api, folder, 'server.properties', call)).text);
  if (properties['online-mode']?.trim().toLowerCase() === 'false') return { name, uuid: offlineUuid(name) };
  const profile = await api.findProfile(name, call.signal);
  if (!profile) throw new AppError('player-unknown');
  return profile;
}

/** A cache that cannot be read is none: the server makes it anew. */
async function findInCache(
  api: Pick<Api, 'gateway'>,
  folder: ServerFolder,
  name: string,
  call: CallOptions,
): Promise<Player | undefined> {
  try {
    const { text, etag } = await loadText(api, folder, 'usercache.json', call);
    return etag === null ? undefined : findCached(inUtf8(jsonConfig).read(text), name, new Date());
  } catch (error) {
    if (error instanceof AppError && ['invalid-config', 'body-too-large'].includes(error.code))
      return undefined;
    throw error;
  }
}

/** UUID.nameUUIDFromBytes of `OfflinePlayer:<name>`: version 3, of the MD5. */
function offlineUuid(name: string): string {
  const hash = createHash('md5').update(`OfflinePlayer:${name}`).digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x30, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return withHyphens(hash.toString('hex'));
}
