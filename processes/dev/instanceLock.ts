import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lockFile } from './fileLock.js';
import type { Say } from './tools.js';

/** How long a predecessor that says it is ending is waited for; longer than the longest shutdown. */
const ENDING_TIMEOUT_MS = 75_000;
/** It may be about to notice that it should end: its terminal or npm was killed a moment ago. */
const NOTICE_TIMEOUT_MS = 3000;

export interface InstanceLock {
  /** Tells a successor that waiting is worth while. */
  markEnding(): void;
  release(): void;
}

/** Makes us the only `npm start` on this data dir. Waits for one that is ending; throws when one goes on. */
export async function takeInstance(dataDir: string, say: Say, signal: AbortSignal): Promise<InstanceLock> {
  const path = join(dataDir, 'instance');
  const holderFile = `${path}.json`;
  const begun = performance.now();
  for (let told = false; ; told = true) {
    const lock = await lockFile(path);
    if (lock) {
      const write = (ending: boolean): void =>
        writeFileSync(holderFile, JSON.stringify({ pid: process.pid, ending }), { mode: 0o600 });
      write(false);
      return {
        markEnding: () => write(true),
        release: () => {
          rmSync(holderFile, { force: true });
          lock.release();
        },
      };
    }
    const holder = readHolder(holderFile);
    const patienceMs = holder.ending ? ENDING_TIMEOUT_MS : NOTICE_TIMEOUT_MS;
    if (performance.now() - begun > patienceMs) {
      throw new Error(
        `AYMC already runs on ${dataDir} (pid ${holder.pid ?? 'unknown'}); stop it, or set AYMC_DATA_DIR`,
      );
    }
    if (!told) say(`Waiting for another AYMC on ${dataDir} (pid ${holder.pid ?? 'unknown'}) …`);
    await sleep(200, undefined, { signal });
  }
}

function readHolder(path: string): { pid: number | undefined; ending: boolean } {
  try {
    const record: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof record === 'object' && record !== null && 'pid' in record && 'ending' in record) {
      return { pid: typeof record.pid === 'number' ? record.pid : undefined, ending: record.ending === true };
    }
  } catch {
    // Being written, or just gone.
  }
  return { pid: undefined, ending: false };
}
