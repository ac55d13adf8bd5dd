import { execFile } from 'node:child_process';
import { rm, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { isMissing } from '../errors.js';
import { endOfWholeLines } from './console.js';
import type { Run } from './run.js';

const runFile = promisify(execFile);

/** Runs whose console is kept, and the disk space that all consoles of one server may take. */
const CONSOLES_KEPT = 5;
const CONSOLE_BYTES_MAX = 64 * 1024 * 1024;
/** Runs that are still known by id and length, so that a reader who comes late learns how much it missed. */
const RUNS_KEPT = 20;
/** What stays of a console that central storage has passed, for people who look on the host. */
const KEPT_BEHIND_READER = 8 * 1024 * 1024;

/**
 * Removes what is too old or too much, oldest first, and answers the runs that are gone altogether. Nothing of a run
 * that goes on is removed but by punching a hole: its size and offsets stay.
 */
export async function trimConsoles(runs: readonly Run[], log: Logger): Promise<ReadonlySet<Run>> {
  const forgotten = new Set(runs.slice(0, -RUNS_KEPT).filter(run => run.ended));
  for (const run of forgotten) await rm(run.folder, { recursive: true, force: true });
  const left = runs.filter(run => !forgotten.has(run));
  let budget = CONSOLE_BYTES_MAX;
  for (const [age, run] of left.toReversed().entries()) {
    const taken = await bytesOnDisk(run.consolePath);
    if (run.ended && (age >= CONSOLES_KEPT || taken > budget)) {
      await dropConsole(run);
    } else if (taken > budget) {
      // Down to half, so that a chatty server is not trimmed at every look.
      const size = await run.consoleSize();
      await punchConsole(run, size - Math.floor(budget / 2), log);
      budget = 0;
    } else {
      budget -= taken;
    }
  }
  return forgotten;
}

/** Frees what a reader who stores everything has passed. Does nothing for small gains. */
export async function releaseConsole(run: Run, passed: number, log: Logger): Promise<void> {
  const upTo = passed - KEPT_BEHIND_READER;
  if (upTo - run.droppedBefore > KEPT_BEHIND_READER) await punchConsole(run, upTo, log);
}

async function dropConsole(run: Run): Promise<void> {
  if (run.droppedBefore > 0 && (await bytesOnDisk(run.consolePath)) === 0) return;
  run.droppedBefore = await run.consoleSize();
  await run.save();
  await rm(run.consolePath, { force: true });
  await rm(run.fifoPath, { force: true });
}

/** Gives the blocks before the last line start below `upTo` back to the file system. */
async function punchConsole(run: Run, upTo: number, log: Logger): Promise<void> {
  const end = await endOfWholeLines(run.consolePath, upTo);
  const before = run.droppedBefore;
  if (end <= before) return;
  // Readers first: until the hole is there they skip bytes that still are, never the other way round.
  run.droppedBefore = end;
  try {
    await runFile('fallocate', ['--punch-hole', '--offset', '0', '--length', String(end), run.consolePath]);
  } catch (error) {
    run.droppedBefore = before;
    log.warn(
      { err: error, run_id: run.runId },
      'this file system cannot punch holes: the console file keeps growing',
    );
    return;
  }
  await run.save();
}

async function bytesOnDisk(path: string): Promise<number> {
  try {
    return (await stat(path)).blocks * 512;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}
