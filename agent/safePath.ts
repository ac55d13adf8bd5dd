import { constants } from 'node:fs';
import { mkdir, open, realpath, type FileHandle } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { AgentError, errnoOf, isMissing } from './errors.js';

/** A path split at the folder that nothing may leave. */
export interface SafePath {
  /** The server's folder (the first component below the work dir), with its links resolved. */
  readonly root: string;
  readonly components: readonly string[];
}

/** Links that stay inside are resolved here; what changes afterwards is caught by `openFolder`. */
export async function resolvePath(
  workDir: string,
  server: string,
  components: readonly string[],
): Promise<SafePath> {
  let root: string;
  try {
    root = await realpath(join(workDir, server));
  } catch (error) {
    throw nameFault(error);
  }
  if (root !== join(await realpath(workDir), server)) throw leaves();
  // The longest part that exists, with its links resolved, then the part that does not exist yet.
  for (let known = components.length; ; known--) {
    try {
      const real = await realpath(join(root, ...components.slice(0, known)));
      if (real !== root && !real.startsWith(root + sep)) throw leaves();
      const resolved = relative(root, real).split(sep).filter(Boolean);
      return { root, components: [...resolved, ...components.slice(known)] };
    } catch (error) {
      if (!isMissing(error) || known === 0) throw nameFault(error);
    }
  }
}

/** Runs `work` with the open folder that holds the last component. */
export async function inParent<T>(
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

/** Opens hop by hop; a link on the way is an error, since `resolvePath` has left none. */
export async function openFolder({ root, components }: SafePath, create: boolean): Promise<FileHandle> {
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

export async function openNamed(parent: FileHandle, name: string, flags: number): Promise<FileHandle> {
  return open(inside(parent, name), flags | constants.O_NOFOLLOW);
}

/** What `openat` would do: Linux resolves this through the open folder, wherever that has been moved to. */
export function inside(folder: FileHandle, name: string): string {
  return `/proc/self/fd/${folder.fd}/${name}`;
}

async function mkdirIfMissing(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
}

export function leaves(): AgentError {
  return new AgentError('invalid-path', 'the path leaves the server’s folder');
}

/** What the file system says about a path, in our words. */
export function nameFault(error: unknown): unknown {
  if (error instanceof AgentError) return error;
  const errno = errnoOf(error);
  if (errno === 'ELOOP') return leaves();
  if (isMissing(error))
    return new AgentError('file-not-found', 'there is no such file or folder', { cause: error });
  if (errno !== undefined && UNUSABLE.has(errno)) {
    return new AgentError('invalid-path', `the path can’t be used (${errno})`, { cause: error });
  }
  return error;
}

/** EXDEV and EBUSY: something else is mounted there, which only the host's operator can put in order. */
const UNUSABLE = new Set(['EISDIR', 'ENOTEMPTY', 'ENAMETOOLONG', 'EINVAL', 'EXDEV', 'EBUSY']);
