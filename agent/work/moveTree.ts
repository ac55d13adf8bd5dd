import { readdir, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.js';
import { syncFolder } from '../files.js';
import { statIfThere } from '../serverFiles/facts.js';

/**
 * Moves all that is in one folder into another by renames, in the order of names: files over files, folders into folders
 * of that name. Broken off and called again it moves the rest. Throws `invalid-path` where a folder is to take the place
 * of a file or link, or the other way round: no link leads it out of the folder.
 */
export async function moveTree(from: string, to: string): Promise<void> {
  const entries = await readdir(from, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => a.name.localeCompare(b.name))) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    const there = await statIfThere(target);
    if (there && there.isDirectory() !== entry.isDirectory())
      throw new AgentError('invalid-path', `${entry.name} in the server's folder is in the way`);
    if (there?.isDirectory()) {
      await moveTree(source, target);
      await rmdir(source);
    } else {
      await rename(source, target);
    }
  }
  await syncFolder(to);
}
