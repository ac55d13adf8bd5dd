import { createHash } from 'node:crypto';
import type { CallOptions } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';
import { findCached, PLAYER_NAME, type Player } from '#src/domain/playerLists.js';
import { readProperties } from '#src/domain/serverProperties.js';
import type { Api } from '../deps.js';
import { isObject } from '../jsonSchema.js';
import { jsonConfig } from '../files/jsonConfig.js';
import type { ServerFolder } from '../files/serverFolder.js';
import { loadText } from '../files/textFile.js';
import { inUtf8 } from '../files/utf8.js';

const TIMEOUT_MS = 5_000;
const ANSWER_BYTES_MAX = 16 * 1024;

/**
 * Who that is, as the server itself would find out: by those it has met, then by its mode. Rejects with
 * `player-unknown`, `upstream-failed`, and like every call about files.
 */
export async function identifyPlayer(
  api: Pick<Api, 'gateway' | 'settings'>,
  folder: ServerFolder,
  name: string,
  call: CallOptions,
): Promise<Player> {
  const cached = await findInCache(api, folder, name, call);
  if (cached) return cached;
  const properties = readProperties((await loadText(api, folder, 'server.properties', call)).text);
  if (properties['online-mode']?.trim().toLowerCase() === 'false') return { name, uuid: offlineUuid(name) };
  return findProfile(api.settings.servers.mojangApiUrl, name, call.signal);
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
export function offlineUuid(name: string): string {
  const hash = createHash('md5').update(`OfflinePlayer:${name}`).digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x30, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return withHyphens(hash.toString('hex'));
}

/**
 * Of Mojang's accounts, with the name as its owner writes it. `GET /users/profiles/minecraft/<name>` answers
 * `{id: 32 hex digits, name}`; 404, in older days 204, where there is none.
 */
async function findProfile(baseUrl: string, name: string, signal?: AbortSignal): Promise<Player> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const answer = await fetch(`${baseUrl}/users/profiles/minecraft/${name}`, {
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      redirect: 'error',
    });
    if (answer.status === 404 || answer.status === 204) throw new AppError('player-unknown');
    if (!answer.ok) throw failed(`Mojang answers ${answer.status}`);
    return readProfile(await readBounded(answer));
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw failed('Mojang, who knows the players, cannot be asked', error);
  }
}

async function readBounded({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const bytes: AsyncIterable<Uint8Array> | null = body;
  for await (const chunk of bytes ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > ANSWER_BYTES_MAX) throw failed('Mojang answers too much');
  }
  return Buffer.concat(chunks).toString('utf8');
}

function readProfile(text: string): Player {
  const answer: unknown = JSON.parse(text);
  const { id, name }: Record<string, unknown> = isObject(answer) ? answer : {};
  if (
    typeof id === 'string' &&
    /^[0-9a-f]{32}$/.test(id) &&
    typeof name === 'string' &&
    PLAYER_NAME.test(name)
  ) {
    return { name, uuid: withHyphens(id) };
  }
  throw failed('Mojang answers no profile');
}

function withHyphens(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function failed(detail: string, cause?: unknown): AppError {
  return new AppError('upstream-failed', { detail, cause });
}
