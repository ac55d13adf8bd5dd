import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { isMissing } from '../errors.js';
import { syncFolder } from '../files.js';
import type { RefusesAddress } from './address.js';
import { type Checksum, type Download, downloadFile, hashFile } from './download.js';

/** Oldest use goes first. Partial downloads count too. */
const CACHE_BYTES_MAX = 4 * 1024 * 1024 * 1024;

/** Verified files by their hash, so that the second server of a version needs no network. One folder, bounded. */
export class ArtifactCache {
  /** Two servers that want the same jar at once download it once. Emptied as downloads end. */
  readonly #downloading = new Map<string, Promise<void>>();

  constructor(
    private readonly folder: string,
    private readonly refuses: RefusesAddress,
  ) {}

  /**
   * The path of the verified content, downloaded now if it is not here. The file is the cache's: copy it, don't move it.
   */
  async get(
    checksum: Checksum,
    request: Omit<Download, 'checksum' | 'partPath' | 'refuses'>,
  ): Promise<string> {
    await mkdir(this.folder, { recursive: true });
    const path = join(this.folder, `${checksum.algorithm}-${checksum.hex}.${request.content ?? 'jar'}`);
    for (;;) {
      if (await this.#holds(path, checksum)) return path;
      const other = this.#downloading.get(path);
      if (other === undefined) break;
      // Whatever becomes of theirs: if it fails, or is cancelled, this one goes on from their partial file.
      await Promise.race([Promise.allSettled([other]), aborted(request.signal)]);
    }
    const partPath = `${path}.part`;
    const download = downloadFile({ ...request, checksum, partPath, refuses: this.refuses })
      .then(() => rename(partPath, path))
      .finally(() => this.#downloading.delete(path));
    this.#downloading.set(path, download);
    await download;
    await this.#evict(path);
    return path;
  }

  /** Bytes on disk rot and people edit: what is handed out has been read just now. */
  async #holds(path: string, checksum: Checksum): Promise<boolean> {
    try {
      await utimes(path, new Date(), new Date());
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
    if ((await hashFile(path, checksum.algorithm)) === checksum.hex) return true;
    await rm(path, { force: true });
    return false;
  }

  async #evict(keep: string): Promise<void> {
    const files = await Promise.all(
      (await readdir(this.folder)).map(async name => {
        const path = join(this.folder, name);
        const { size, mtimeMs } = await stat(path);
        return { path, size, mtimeMs };
      }),
    );
    let total = files.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of files.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
      if (total <= CACHE_BYTES_MAX) return;
      if (path === keep || this.#downloading.has(path.replace(/\.part$/, ''))) continue;
      await rm(path, { force: true });
      total -= size;
    }
  }
}

/** Puts a copy under its final name in one step: never a piece, and on disk when this resolves. */
export async function placeFile(source: string, folder: string, name: string): Promise<void> {
  const temporary = join(folder, `.${name}.${randomBytes(4).toString('hex')}.part`);
  try {
    await copyFile(source, temporary, constants.COPYFILE_FICLONE);
    const file = await open(temporary, 'r');
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(folder, name));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
