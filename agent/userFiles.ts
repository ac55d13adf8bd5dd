import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rm,
  type FileHandle,
} from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { AgentError, errnoOf, isMissing } from './errors.js';
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

/** A path split at the folder that nothing may leave. */
interface SafePath {
  /** The server's folder (the first component below the work dir), with its links resolved. */
  readonly root: string;
  readonly components: readonly string[];
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
    return this.#inParent(safe, async (parent, name) => {
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
    await this.#inParent(safe, (parent, name) => rename(inside(parent, name), inside(parent, newName)));
  }

  /** A file, or a folder with all that is in it. Gone already is done. */
  async remove(path: string): Promise<void> {
    const safe = await this.#resolve(path);
    await this.#inParent(safe, (parent, name) => rm(inside(parent, name), { recursive: true, force: true }));
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
    await this.#inParent(
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

  async #inParent<T>(
    { root, components }: SafePath,
    work: (parent: FileHandle, name: string) => Promise<T>,
    createFolders = false,
  ): Promise<T> {
    const name = components.at(-1);
    if (name === undefined) throw new AgentError('invalid-path', 'the path names a server’s whole folder');
    const parent = await openFolder({ root, components: components.slice(0, -1) }, createFolders);
    try {
      return await work(parent, name);
    } catch (error) {
      throw nameFault(error);
    } finally {
      await parent.close();
    }
  }

  /** Links that stay inside are resolved here; what changes afterwards is caught by `openFolder`. */
  async #resolve(path: string): Promise<SafePath> {
    const [first, ...rest] = cleanComponents(this.workDir, path);
    if (first === undefined) throw new AgentError('invalid-path', 'the path names no server');
    let root: string;
    try {
      root = await realpath(join(this.workDir, first));
    } catch (error) {
      throw nameFault(error);
    }
    if (root !== join(await realpath(this.workDir), first)) throw leaves();
    // The longest part that exists, with its links resolved, then the part that does not exist yet.
    for (let known = rest.length; ; known--) {
      try {
        const real = await realpath(join(root, ...rest.slice(0, known)));
        if (real !== root && !real.startsWith(root + sep)) throw leaves();
        const components = relative(root, real).split(sep).filter(Boolean);
        return { root, components: [...components, ...rest.slice(known)] };
      } catch (error) {
        if (!isMissing(error) || known === 0) throw nameFault(error);
      }
    }
  }
}

function cleanComponents(workDir: string, path: string): string[] {
  const inWorkDir = isAbsolute(path) ? relative(workDir, path) : path;
  const components = inWorkDir.split('/').filter(component => component !== '' && component !== '.');
  if (path.includes('\0') || components.includes('..')) throw leaves();
  if (components[0] === HIDDEN_FOLDER) throw new AgentError('invalid-path', 'that folder is the agent’s own');
  return components;
}

/** Opens hop by hop; a link on the way is an error, since `#resolve` has left none. */
async function openFolder({ root, components }: SafePath, create: boolean): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  let folder = await open(root, flags);
  for (const component of components) {
    try {
      const path = inside(folder, component);
      if (create) await mkdirIfMissing(path);
      const next = await open(path, flags);
      await folder.close();
      folder = next;
    } catch (error) {
      await folder.close();
      throw nameFault(error);
    }
  }
  return folder;
}

async function openNamed(parent: FileHandle, name: string, flags: number): Promise<FileHandle> {
  return open(inside(parent, name), flags | constants.O_NOFOLLOW);
}

/** What `openat` would do: Linux resolves this through the open folder, wherever that has been moved to. */
function inside(folder: FileHandle, name: string): string {
  return `/proc/self/fd/${folder.fd}/${name}`;
}

async function mkdirIfMissing(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function leaves(): AgentError {
  return new AgentError('invalid-path', 'the path leaves the server’s folder');
}

function nameFault(error: unknown): unknown {
  if (error instanceof AgentError) return error;
  const errno = errnoOf(error);
  if (errno === 'ELOOP') return leaves();
  if (isMissing(error))
    return new AgentError('file-not-found', 'there is no such file or folder', { cause: error });
  if (errno === 'EISDIR' || errno === 'ENOTEMPTY' || errno === 'ENAMETOOLONG') {
    return new AgentError('invalid-path', `the path can’t be used (${errno})`, { cause: error });
  }
  return error;
}
