import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { waitFor } from './waitFor.js';

/** What a test file may not leave open in its process, as Node calls it, and as people do. */
const HANDLES = new Map([
  ['TCPServerWrap', 'listening socket'],
  ['TCPSocketWrap', 'connection'],
  ['ProcessWrap', 'child process'],
]);
/** Closing takes a moment even where nobody forgot it. */
const CLOSE_MS = 3000;
const EXIT_MS = 5000;

/** Makes each of these suites fail that leaves sockets or child processes open. They run one after the other. */
export function forbidOpenHandles(suites: readonly Mocha.Suite[]): void {
  let before = openHandles();
  const left = (): string[] =>
    [...openHandles()].flatMap(([what, n]) => {
      const extra = n - (before.get(what) ?? 0);
      return extra > 0 ? [`${extra} × ${what}`] : [];
    });
  const check = async (): Promise<void> => {
    await waitFor(() => left().length === 0, { timeoutMs: CLOSE_MS, what: 'handles to close' }).catch(
      () => undefined,
    );
    const extra = left().join(', ');
    before = openHandles(); // nobody is blamed for what an earlier one left
    if (extra !== '') throw new Error(`left open: ${extra}`);
  };
  // Made after the files were loaded, so it runs after their own hooks.
  for (const suite of suites) suite.afterAll('leaves nothing open', check);
}

function openHandles(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const handle of process.getActiveResourcesInfo()) {
    const name = HANDLES.get(handle);
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** Ends this process by itself when nothing holds it, and otherwise says what does. */
export function exitEvenWhenHeld(code: number): void {
  process.exitCode = code;
  setTimeout(() => {
    const holders = [...new Set(process.getActiveResourcesInfo())].join(', ');
    process.stderr.write(`The tests have ended, but their process does not: held by ${holders}\n`);
    process.exit(1);
  }, EXIT_MS).unref();
}

export interface RunningProcess {
  readonly pid: number;
  readonly command: string;
}

const SHOWN_LENGTH = 160;

/** For a message. */
export function describeProcess({ pid, command }: RunningProcess): string {
  const shown = command.length > SHOWN_LENGTH ? `${command.slice(0, SHOWN_LENGTH)} …` : command;
  return `${pid} ${shown}`;
}

/**
 * Every process that has to do with a folder: by its working directory, its arguments or its environment. Tests keep
 * all they start in a temporary folder of their own, so this finds even what was detached from them. Linux only;
 * elsewhere it finds none.
 */
export function processesOf(folder: string): RunningProcess[] {
  return pids().flatMap(pid => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const places = [
        readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, ''),
        ...command.split('\0'),
        ...readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0'),
      ];
      if (!places.some(place => mentions(place, folder))) return [];
      return [{ pid, command: command.replaceAll('\0', ' ').trim() || '(no arguments)' }];
    } catch {
      return []; // ended meanwhile, or somebody else's
    }
  });
}

/** `/tmp/run/unit` is in `TMPDIR=/tmp/run/unit` and `/tmp/run/unit/x`, but not in `/tmp/run/units`. */
function mentions(text: string, folder: string): boolean {
  const at = text.indexOf(folder);
  return at >= 0 && /^($|\W)/.test(text.slice(at + folder.length));
}

function pids(): number[] {
  try {
    return readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(Number)
      .filter(pid => pid !== process.pid);
  } catch {
    return [];
  }
}

/** Kills all of them, and answers which there were. */
export async function endProcessesOf(folder: string): Promise<RunningProcess[]> {
  const found = new Map<number, RunningProcess>();
  await waitFor(
    () => {
      const left = processesOf(folder);
      for (const running of left) {
        found.set(running.pid, running);
        try {
          process.kill(running.pid, 'SIGKILL');
        } catch {
          // ended meanwhile
        }
      }
      return left.length === 0;
    },
    { what: `the processes of ${folder} to end` },
  );
  return [...found.values()];
}

/** Written by what tests run on, not by tests: the loader's cache and Node's. */
const NOT_THEIRS = /^(tsx-|node-compile-cache$|node-jiti$|hsperfdata_)/;

export function filesLeftIn(folder: string): string[] {
  return readdirSync(folder).filter(name => !NOT_THEIRS.test(name));
}
