import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

/** The rooms that must be covered, in percent of their lines. */
export const COVERAGE_GATE = 80;
const ROOMS = ['src', 'workflows', 'activities', 'agent'];
/** Of these V8 itself counts; workflows run in a sandbox that it does not see, so their bundle is instrumented. */
const V8_ROOMS = ROOMS.filter(room => room !== 'workflows');
/** Compiled code counts for the sources that its maps name. */
const V8_FOLDERS = [...V8_ROOMS, 'dist'];

export interface RoomCoverage {
  readonly room: string;
  readonly lines: number;
  readonly covered: number;
  /** 0 when nothing is known, since that is no reason to be content. */
  readonly percent: number;
}

export interface RawCoverage {
  /** NODE_V8_COVERAGE of every process: one file for each that ended in order. */
  readonly v8: string;
  /** AYMC_COVERAGE_DIR: istanbul's own format, from processes that ran workflows. */
  readonly workflows: string;
}

const run = promisify(execFile);
const TOOL_TIMEOUT_MS = 5 * 60_000;

/** Merges what all processes of a run covered into coverage/lcov.info and coverage/summary.json. */
export async function measureCoverage(root: string, raw: RawCoverage): Promise<RoomCoverage[]> {
  const pruned = `${raw.v8}-pruned`;
  const merged = `${raw.v8}-merged`;
  const out = join(root, 'coverage');
  for (const folder of [pruned, merged, out]) mkdirSync(folder, { recursive: true });
  pruneV8(root, raw.v8, pruned);
  await tool(root, 'c8/bin/c8.js', [
    'report',
    `--temp-directory=${pruned}`,
    '--reporter=json',
    `--reports-dir=${merged}`,
    '--exclude-after-remap',
    // A file that no test has loaded counts too, as uncovered.
    '--all',
    ...V8_ROOMS.flatMap(room => [`--src=${room}`, `--include=${room}/**/*.ts`]),
    '--extension=.ts',
    '--exclude=**/*.d.ts',
  ]);
  copyWorkflowCoverage(root, raw.workflows, merged);
  await tool(root, 'nyc/bin/nyc.js', [
    'report',
    `--temp-dir=${merged}`,
    '--reporter=lcovonly',
    '--reporter=json-summary',
    `--report-dir=${out}`,
  ]);
  return roomsOf(root, out);
}

async function tool(root: string, script: string, args: readonly string[]): Promise<void> {
  const env = { ...process.env, NODE_V8_COVERAGE: '' };
  await run(process.execPath, [join(root, 'node_modules', script), ...args], {
    cwd: root,
    env,
    timeout: TOOL_TIMEOUT_MS,
    maxBuffer: 64 * 1024 * 1024,
  });
}

/** Nine tenths of what V8 tells is about packages; dropped one file at a time, since all at once need gigabytes. */
function pruneV8(root: string, from: string, to: string): void {
  const prefixes = V8_FOLDERS.map(folder => pathToFileURL(join(root, folder)).href + '/');
  const isOurs = (url: string): boolean => prefixes.some(prefix => url.startsWith(prefix));
  for (const name of filesIn(from)) {
    const report = readJson(join(from, name));
    const scripts = Array.isArray(report?.['result']) ? report['result'] : [];
    const result = scripts.filter((script: unknown) => isRecord(script) && isOurs(String(script['url'])));
    const maps = isRecord(report?.['source-map-cache']) ? report['source-map-cache'] : {};
    const cache = Object.fromEntries(Object.entries(maps).filter(([url]) => isOurs(url)));
    if (result.length > 0) {
      writeFileSync(join(to, name), JSON.stringify({ result, 'source-map-cache': cache }));
    }
  }
}

/** The bundle holds src/contracts and src/domain too; V8 counts those, and the two ways to count don't add up. */
function copyWorkflowCoverage(root: string, from: string, to: string): void {
  const prefix = join(root, 'workflows') + '/';
  for (const name of filesIn(from)) {
    const report = readJson(join(from, name)) ?? {};
    const ours = Object.entries(report).filter(([path]) => path.startsWith(prefix));
    writeFileSync(join(to, name), JSON.stringify(Object.fromEntries(ours)));
  }
}

function roomsOf(root: string, out: string): RoomCoverage[] {
  const files = Object.entries(readJson(join(out, 'coverage-summary.json')) ?? {}).map(([path, summary]) => {
    const lines = isRecord(summary) && isRecord(summary['lines']) ? summary['lines'] : {};
    return {
      path: relative(root, path),
      lines: Number(lines['total'] ?? 0),
      covered: Number(lines['covered'] ?? 0),
    };
  });
  const rooms = ROOMS.map(room => {
    const inRoom = files.filter(({ path }) => path.startsWith(`${room}/`));
    const lines = inRoom.reduce((sum, file) => sum + file.lines, 0);
    const covered = inRoom.reduce((sum, file) => sum + file.covered, 0);
    return { room, lines, covered, percent: lines === 0 ? 0 : (covered / lines) * 100 };
  });
  writeFileSync(join(out, 'summary.json'), `${JSON.stringify({ rooms, files }, null, 2)}\n`);
  return rooms;
}

export function roomTable(rooms: readonly RoomCoverage[]): string {
  return rooms
    .map(({ room, lines, covered, percent }) => {
      return `${room.padEnd(14)}${percent.toFixed(1).padStart(7)} % of lines (${covered}/${lines})`;
    })
    .join('\n');
}

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter(name => name.endsWith('.json')) : [];
}

/** Undefined for what a killed process left half-written. */
function readJson(path: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
