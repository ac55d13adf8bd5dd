import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { isAbsolute, relative, resolve, sep } from 'node:path';
import type { Logger } from 'pino';
import type { CrashCause } from '#proto/gen/agent.js';
import { readConsoleTail } from './console.js';
import { causeOf, type Ending } from './crashCause.js';
import type { Run } from './run.js';

/** A watchdog's thread dump is long, and what matters stands before it. */
const TAIL_BYTES = 128 * 1024;
const REPORT_HEAD_BYTES = 4 * 1024;
const DETAIL_MAX = 500;
const PATH_MAX = 500;

/**
 * Why a run ended by itself, from its console and its crash report; undefined when somebody wanted it to end. What
 * can't be read is left out: a crash is told of in any case.
 */
export async function findCause(
  run: Run,
  folder: string,
  ending: Omit<Ending, 'lines'>,
  log: Logger,
): Promise<CrashCause | undefined> {
  const lines = await orNothing(log, [], async () =>
    readConsoleTail(run.consolePath, await run.consoleSize(), TAIL_BYTES),
  );
  const finding = causeOf({ ...ending, lines });
  if (finding === undefined) return undefined;
  const { code, detail, evidence, report } = finding;
  const reportPath = report === undefined ? '' : await locate(folder, report);
  const said =
    reportPath === ''
      ? undefined
      : await orNothing(log, undefined, () => readDescription(folder, reportPath));
  return {
    code,
    detail: (code === 'crash-report' && said !== undefined ? `It crashed: ${said}` : detail).slice(
      0,
      DETAIL_MAX,
    ),
    evidence,
    reportPath,
  };
}

async function orNothing<T>(log: Logger, nothing: T, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    log.warn({ err: error }, 'what a crash left cannot be read');
    return nothing;
  }
}

/** Relative to the server's folder; empty for what is not there, or not in there with all links resolved. */
async function locate(folder: string, report: string): Promise<string> {
  try {
    const [root, file] = await Promise.all([realpath(folder), realpath(resolve(folder, report))]);
    const path = relative(root, file);
    const isInside = path !== '' && path !== '..' && !path.startsWith(`..${sep}`) && !isAbsolute(path);
    return isInside && path.length <= PATH_MAX ? path : '';
  } catch {
    return '';
  }
}

/** The line `Description: …` of a Minecraft crash report. */
async function readDescription(folder: string, path: string): Promise<string | undefined> {
  // O_NONBLOCK: opening a FIFO that someone put there must not wait for its writer.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(resolve(folder, path), flags);
  try {
    if (!(await file.stat()).isFile()) return undefined;
    const head = Buffer.alloc(REPORT_HEAD_BYTES);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return /^Description: (\S.*?)\r?$/m.exec(head.toString('utf8', 0, bytesRead))?.[1];
  } finally {
    await file.close();
  }
}
