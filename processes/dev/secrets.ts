import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const secretFileOf = (dataDir: string, name: string): string => join(dataDir, 'secrets', name);

/**
 * The secret of that name, made at first use and kept under the data dir for its owner alone. Two processes that ask
 * at the same time get the same one, and a crash leaves none that is half-written.
 */
export function keepSecret(dataDir: string, name: string): string {
  const path = secretFileOf(dataDir, name);
  const kept = read(path);
  if (kept !== undefined) return kept;
  mkdirSync(join(dataDir, 'secrets'), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}-${randomBytes(4).toString('hex')}`;
  writeFileSync(draft, `${randomBytes(36).toString('base64url')}\n`, {
    mode: 0o600,
    flag: 'wx',
    flush: true,
  });
  try {
    linkSync(draft, path);
  } catch (error) {
    if (read(path) === undefined) throw error;
  } finally {
    rmSync(draft);
  }
  const secret = read(path);
  if (secret === undefined) throw new Error(`${path} can't be read`);
  return secret;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch {
    return undefined;
  }
}
