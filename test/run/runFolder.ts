import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identify } from '#processes/dev/processTable.js';
import { readLeftover } from '#processes/dev/service.js';
import { endProcessesOf } from '../harness/leaks.js';

const PREFIX = 'aymc-run-';
const OWNER = 'owner.json';

/** A folder that holds everything of this run. What runs left that were killed goes first, with its processes. */
export async function makeRunFolder(): Promise<string> {
  const parent = realpathSync(tmpdir());
  for (const name of readdirSync(parent)) {
    if (name.startsWith(PREFIX)) await removeIfAbandoned(join(parent, name));
  }
  const folder = mkdtempSync(join(parent, PREFIX));
  writeFileSync(join(folder, `${OWNER}.new`), JSON.stringify(identify(process.pid)));
  renameSync(join(folder, `${OWNER}.new`), join(folder, OWNER));
  // Open to be passed through: as root, Postgres runs as someone else.
  chmodSync(folder, 0o711);
  return folder;
}

/** A folder without an owner's file is one that another run is just making, or somebody else's. */
async function removeIfAbandoned(folder: string): Promise<void> {
  const owner = join(folder, OWNER);
  if (!existsSync(owner) || readLeftover(owner)) return;
  await endProcessesOf(folder);
  removeFolder(folder);
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
