import { AppError } from './errors.js';

/** PATH_MAX and NAME_MAX of Linux. */
const PATH_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 255;
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * A path within a server's folder, as people write it, tidied: without a leading slash, empty parts and `.`; empty means
 * the folder itself. Throws `invalid-path`. That no link leads out is for the agent to see.
 */
export function parseFilePath(path: string): string {
  const names = path.split('/').filter(name => name !== '' && name !== '.');
  if (names.includes('..')) throw new AppError('invalid-path');
  if (path.includes('\0') || LONE_SURROGATE.test(path)) throw invalid('can’t be a path');
  const tidied = names.join('/');
  if (names.some(name => bytesOf(name) > NAME_BYTES_MAX) || bytesOf(tidied) > PATH_BYTES_MAX) {
    throw invalid('is too long');
  }
  return tidied;
}

/** …of something within the folder. */
export function parseInnerPath(path: string): string {
  const tidied = parseFilePath(path);
  if (tidied === '') throw invalid('names the server’s whole folder');
  return tidied;
}

/** The last part; empty for the folder itself. */
export function fileNameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

function invalid(what: string): AppError {
  return new AppError('invalid-path', { detail: `The path ${what}` });
}
