import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultCacheDir, firstWritable, runTool } from '#processes/dev/tools.js';

const REQUIREMENTS = fileURLToPath(new URL('requirements.txt', import.meta.url));
const INSTALL_TIMEOUT_MS = 5 * 60_000;

/**
 * The folder that Python finds Schemathesis in: a cached one, or one installed now, of exactly the pinned releases so
 * that a seed means the same everywhere. Nothing is installed into the system's Python. Rejects where there is no
 * Python with pip, or no package index.
 */
export async function findSchemathesis(): Promise<string> {
  const python = (await runTool('python3', ['--version'], { timeoutMs: 15_000 })).trim();
  const wanted = createHash('sha256').update(python).update(readFileSync(REQUIREMENTS)).digest('hex');
  const cache = firstWritable([defaultCacheDir()]);
  const place = join(cache, `schemathesis-${wanted.slice(0, 16)}`);
  if (existsSync(place)) return place;
  const work = mkdtempSync(join(cache, 'fetch-'));
  const install = ['-m', 'pip', 'install', '--quiet', '--no-input', '--only-binary=:all:', '--target', work];
  try {
    await runTool('python3', [...install, '-r', REQUIREMENTS], { timeoutMs: INSTALL_TIMEOUT_MS });
    renameSync(work, place);
  } catch (error) {
    if (!existsSync(place)) throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return place;
}

export interface FuzzRun {
  /** What `findSchemathesis` answered. */
  folder: string;
  /** Empty, and gone with its content when the caller is done. */
  workFolder: string;
  url: string;
  document: unknown;
  token: string | null;
  phases: readonly ('examples' | 'coverage' | 'fuzzing')[];
  /** Most requests that the fuzzing phase makes up for an operation. */
  examples: number;
  seed: number;
  timeoutMs: number;
}

/** What an answer is held to. Of 5xx only those are good that say which neighbour is away. */
const configOf = (token: string | null): string => `
${token === null ? '' : `headers = { Authorization = "Bearer ${token}" }`}
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "501", "502", "503", "504", "507"]
`;
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
];

/** Fuzzes what the document describes. Resolves with the report, or rejects with it when something was found. */
export async function runSchemathesis(run: FuzzRun): Promise<string> {
  const document = join(run.workFolder, 'openapi.json');
  const config = join(run.workFolder, 'schemathesis.toml');
  writeFileSync(document, JSON.stringify(run.document));
  writeFileSync(config, configOf(run.token));
  const args = [
    '-m',
    'schemathesis.cli',
    `--config-file=${config}`,
    'run',
    document,
    `--url=${run.url}`,
    `--checks=${CHECKS.join(',')}`,
    `--phases=${run.phases.join(',')}`,
    `--max-examples=${run.examples}`,
    `--seed=${run.seed}`,
    '--workers=1',
    '--continue-on-failure',
    '--generation-database=none',
    '--suppress-health-check=all',
    '--request-timeout=20',
    '--max-redirects=0',
    '--warnings=off',
    '--no-color',
  ];
  const env = {
    PATH: process.env['PATH'],
    HOME: run.workFolder,
    PYTHONPATH: run.folder,
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const options = { timeoutMs: run.timeoutMs, cwd: run.workFolder, env };
  return runTool('python3', args, options).catch((error: unknown) => {
    throw new Error(`Schemathesis has found something:\n${reportOf(error)}`);
  });
}

function reportOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'stdout' in error && typeof error.stdout === 'string' && error.stdout !== ''
    ? error.stdout
    : error.message;
}
