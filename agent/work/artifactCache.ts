import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { createHash, randomBytes } from 'node:crypto';
import { isMissing } from '../errors.js';
import { syncFolder } from '../files.js';
import { isJar } from '../jar.js';
import type { RefusesAddress } from './address.js';
import { type Checksum, type Download, downloadFile, hashFile } from './download.js';
import { aborted } from './step.js';

/** Oldest use goes first. Partial downloads count too. */
const CACHE_BYTES_MAX = 4 * 1024 * 1024 * 1024;

export type Source = Omit<Download, 'partPath' | 'refuses'>;

/** What names a file in the cache and in a server's facts: its hash; its URL where the upstream publishes none. */
export function cacheKey({ checksum, url }: Pick<Source, 'checksum' | 'url'>): string {
  if (checksum) return `${checksum.algorithm}-${checksum.hex}`;
  return `url-${createHash('sha256').update(url).digest('hex')}`;
}

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
  async get(source: Source): Promise<string> {
    await mkdir(this.folder, { recursive: true });
    const { checksum } = source;
    const path = this.#pathOf(source);
    for (;;) {
      if (await this.#holds(path, checksum)) return path;
      const other = this.#downloading.get(path);
      if (other === undefined) break;
      // Whatever becomes of theirs: if it fails, or is cancelled, this one goes on from their partial file.
      await Promise.race([Promise.allSettled([other]), aborted(source.signal)]);
    }
    const partPath = `${path}.part`;
    const download = downloadFile({ ...source, partPath, refuses: this.refuses })
      .then(() => rename(partPath, path))
      .finally(() => this.#downloading.delete(path));
    this.#downloading.set(path, download);
    await download;
    await this.#evict(path);
    return path;
  }

  /** The path of that content where the cache has it. Asks nobody. */
  async find(checksum: Checksum): Promise<string | undefined> {
    const path = this.#pathOf({ checksum, url: '' });
    return (await this.#holds(path, checksum)) ? path : undefined;
  }

  /** Takes in a jar that was made here, from the same file system: it is the cache's then. Answers its hash. */
  async put(file: string): Promise<Checksum> {
    await mkdir(this.folder, { recursive: true });
    const checksum: Checksum = { algorithm: 'sha256', hex: await hashFile(file, 'sha256') };
    const path = this.#pathOf({ checksum, url: '' });
    await rename(file, path);
    await syncFolder(this.folder);
    await this.#evict(path);
    return checksum;
  }

  #pathOf(source: Pick<Source, 'checksum' | 'url' | 'content'>): string {
    return join(this.folder, `${cacheKey(source)}.${source.content ?? 'jar'}`);
  }

  /** Bytes on disk rot and people edit: what is handed out has been read just now. */
  async #holds(path: string, checksum: Checksum | undefined): Promise<boolean> {
    try {
      await utimes(path, new Date(), new Date());
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
    const isWhole = checksum
      ? (await hashFile(path, checksum.algorithm)) === checksum.hex
      : await isJar(path);
    if (isWhole) return true;
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
