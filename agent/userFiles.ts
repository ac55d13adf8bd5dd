import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { copyFile, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { isAbsolute, relative } from 'node:path';
import { AgentError, isMissing } from './errors.js';
import { inParent, inside, leaves, openFolder, openNamed, resolvePath, type SafePath } from './safePath.js';
import { HIDDEN_FOLDER } from './server/paths.js';

/** Leaves room for the rest of a message of 10 MiB. */
const READ_BYTES_MAX = 8 * 1024 * 1024;
const LISTED_MAX = 10_000;

export interface ListedFile {
  readonly name: string;
  /** Relative to the work dir. */
  readonly path: string;
  readonly stats: Stats;
}

/**
 * Users' files, by paths relative to the work dir. A path can't leave the folder that its first component names: not by
 * `..`, not by a symlink, not by one that is swapped in while we look — every folder on the way is opened from the one
 * before it without following links. The agent's own folder is out of reach.
 */
export class UserFiles {
  constructor(private readonly workDir: string) {}

  /** At most 8 MiB from `offset`; a bigger file must be read in pieces. */
  async read(path: string, offset: number, length: number): Promise<{ content: Buffer; stats: Stats }> {
    const safe = await this.#resolve(path);
    return inParent(safe, async (parent, name) => {
      // O_NONBLOCK: opening a FIFO that someone put there must not wait for its writer.
      const file = await openNamed(parent, name, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const stats = await file.stat();
        if (!stats.isFile()) throw new AgentError('invalid-path', `${path} is not a file`);
        const rest = Math.max(0, stats.size - offset);
        const wanted = length > 0 ? Math.min(length, rest) : rest;
        if (wanted > READ_BYTES_MAX) {
          throw new AgentError(
            'body-too-large',
            `${path} has more than ${READ_BYTES_MAX} bytes; read it in pieces`,
          );
        }
        const content = Buffer.alloc(wanted);
        const { bytesRead } = await file.read(content, 0, wanted, offset);
        return { content: content.subarray(0, bytesRead), stats };
      } finally {
        await file.close();
      }
    });
  }

  /** Replaces the whole file in one step. */
  async write(path: string, content: Uint8Array, createFolders: boolean): Promise<void> {
    const safe = await this.#resolve(path);
    await this.#replace(safe, createFolders, async temporary => {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const file = await open(temporary, flags, 0o644);
      try {
        await file.writeFile(content);
        await file.datasync();
      } finally {
        await file.close();
      }
    });
  }

  /** Puts a copy of one of our own files there, in one step. */
  async place(source: string, path: string): Promise<void> {
    const safe = await this.#resolve(path);
    await this.#replace(safe, true, temporary =>
      copyFile(source, temporary, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE),
    );
  }

  async rename(path: string, newName: string): Promise<void> {
    const safe = await this.#resolve(path);
    await inParent(safe, (parent, name) => rename(inside(parent, name), inside(parent, newName)));
  }

  /** A file, or a folder with all that is in it. Gone already is done. */
  async remove(path: string): Promise<void> {
    const safe = await this.#resolve(path);
    await inParent(safe, (parent, name) => rm(inside(parent, name), { recursive: true, force: true }));
  }

  /** By name; links are listed as what they are and not followed. At most 10,000 entries. */
  async list(path: string, recursive: boolean): Promise<ListedFile[]> {
    const listed: ListedFile[] = [];
    await this.#listInto(listed, cleanComponents(this.workDir, path), recursive);
    return listed;
  }

  async #listInto(listed: ListedFile[], components: readonly string[], recursive: boolean): Promise<void> {
    const folder = components.length === 0 ? undefined : await this.#resolve(components.join('/'));
    const handle = folder ? await openFolder(folder, false) : await open(this.workDir, constants.O_DIRECTORY);
    const folders: string[] = [];
    try {
      for (const name of (await readdir(`/proc/self/fd/${handle.fd}`)).sort()) {
        if (components.length === 0 && name === HIDDEN_FOLDER) continue;
        if (listed.length >= LISTED_MAX) return;
        const stats = await lstatIfThere(inside(handle, name));
        if (stats === undefined) continue; // removed while we list
        listed.push({ name, path: [...components, name].join('/'), stats });
        if (stats.isDirectory()) folders.push(name);
      }
    } finally {
      await handle.close();
    }
    if (recursive) for (const name of folders) await this.#listInto(listed, [...components, name], true);
  }

  async #replace(
    safe: SafePath,
    createFolders: boolean,
    make: (temporary: string) => Promise<void>,
  ): Promise<void> {
    await inParent(
      safe,
      async (parent, name) => {
        const temporary = inside(parent, `.${name.slice(0, 200)}.${randomBytes(4).toString('hex')}.part`);
        try {
          await make(temporary);
          await rename(temporary, inside(parent, name));
        } catch (error) {
          await rm(temporary, { force: true });
          throw error;
        }
      },
      createFolders,
    );
  }

  async #resolve(path: string): Promise<SafePath> {
    const [first, ...rest] = cleanComponents(this.workDir, path);
    if (first === undefined) throw new AgentError('invalid-path', 'the path names no server');
    return resolvePath(this.workDir, first, rest);
  }
}

function cleanComponents(workDir: string, path: string): string[] {
  const inWorkDir = isAbsolute(path) ? relative(workDir, path) : path;
  const components = inWorkDir.split('/').filter(component => component !== '' && component !== '.');
  if (path.includes('\0') || components.includes('..')) throw leaves();
  if (components[0] === HIDDEN_FOLDER) throw new AgentError('invalid-path', 'that folder is the agent’s own');
  return components;
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
