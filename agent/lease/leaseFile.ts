import { access, rename, rm, writeFile } from 'node:fs/promises';
import { isMissing } from '../errors.js';
import { encodeGrant, type Grant } from './grant.js';

let written = 0;

/**
 * Replaces a lease file in one step, as its guard may read it at any moment. Not synced: after a crash of the host the boot
 * is another one, and no lease of this boot means anything.
 */
export async function writeLease(path: string, grant: Grant): Promise<void> {
  const temporary = `${path}.${++written}.tmp`;
  try {
    await writeFile(temporary, encodeGrant(grant), { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** From then on the guard lets the server play on, whatever becomes of leases. */
export async function removeLease(path: string): Promise<void> {
  await rm(path, { force: true });
}

/** Whether the server is leased, validly or not. */
export async function hasLease(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
