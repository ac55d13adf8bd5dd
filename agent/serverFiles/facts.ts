import type { BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { type FileFacts, FileKind } from '#proto/gen/agent.js';
import { AgentError, isMissing } from '../errors.js';

export function factsOf(path: string, stats: BigIntStats): FileFacts {
  const kind = kindOf(stats);
  return {
    path,
    kind,
    sizeBytes: kind === FileKind.FILE ? Number(stats.size) : 0,
    modifiedMs: Number(stats.mtimeMs),
    permissions: Number(stats.mode & 0o777n),
    etag: kind === FileKind.FILE ? etagOf(stats) : '',
  };
}

/**
 * Nobody can write a file without changing its ctime, and a file that takes another's place is another inode. Two
 * writes in place within one tick of the kernel's clock (4 ms) look like one; ours are never in place.
 */
export function etagOf({ ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [ino, size, mtimeNs, ctimeNs].map(value => value.toString(36)).join('-');
}

/** Undefined when nothing is there. Links are not followed. */
export async function statIfThere(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

export async function assertNothingAt(path: string): Promise<void> {
  if ((await statIfThere(path)) !== undefined) throw new AgentError('file-exists', 'something has that name');
}

function kindOf(stats: BigIntStats): FileKind {
  if (stats.isFile()) return FileKind.FILE;
  if (stats.isDirectory()) return FileKind.FOLDER;
  return stats.isSymbolicLink() ? FileKind.LINK : FileKind.OTHER;
}
