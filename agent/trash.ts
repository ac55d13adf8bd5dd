import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { renameIfThere } from './files.js';

/**
 * Takes a folder away from one moment to the next, however much is in it; `name` is for people who look. Answers how to
 * remove it for good, which takes as long as it is big: what a crash leaves there goes at the next boot.
 */
export async function moveToTrash(
  { trash }: { readonly trash: string },
  folder: string,
  name: string,
): Promise<() => Promise<void>> {
  await mkdir(trash, { recursive: true });
  const target = join(trash, `${name}-${randomBytes(4).toString('hex')}`);
  if (!(await renameIfThere(folder, target))) return async () => undefined;
  return () => rm(target, { recursive: true, force: true });
}
