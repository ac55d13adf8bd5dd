/** `npm run check`: everything that can be said about the code without running it, in parallel, a line each. */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { availableParallelism, homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';

const root = fileURLToPath(new URL('../../', import.meta.url));
const bin = (name: string) => join(root, 'node_modules/.bin', name);
const node = (...args: string[]): Command => [process.execPath, ['--import', 'tsx', ...args]];

type Command = [program: string, args: string[]];
/** What a function answers is what is wrong. */
type Check = Command | (() => Promise<string>);

/** The slowest first, so that none of them is left to run alone at the end. */
const CHECKS: Record<string, Check> = {
  'format (prettier)': [
    bin('prettier'),
    ['--check', '--cache', '--cache-location=.cache/prettier', '--log-level=warn', '.'],
  ],
  types: [bin('tsc'), ['-p', 'tsconfig.json']],
  'lint (oxlint)': [bin('oxlint'), ['--type-aware']],
  'rooms (dependency-cruiser)': [
    bin('depcruise'),
    ['src', 'activities', 'workflows', 'processes', 'agent', 'migrations'],
  ],
  'generated: protocol': protocolIsInStep,
  'generated: OpenAPI and errors': node('processes/gen/apiDocs.ts', '--check'),
  'unused code (knip)': [bin('knip'), []],
  'types of workflows': [bin('tsc'), ['-p', 'workflows/tsconfig.json']],
  'generated: settings': node('processes/gen/configDocs.ts', '--check'),
  'protocol (buf)': [bin('buf'), ['lint']],
  lockfile: lockfileIsInStep,
  'no way around the rules': nothingIsSwitchedOff,
  'no paths of one machine': pathsAreEverybodys,
};

const queue = Object.entries(CHECKS);
let failed = 0;
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await report(...next);
  }),
);
console.log(failed === 0 ? 'all clean' : `${failed} of ${Object.keys(CHECKS).length} checks failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function report(name: string, check: Check): Promise<void> {
  const begun = performance.now();
  const complaint = typeof check === 'function' ? await check() : await complaintOf(check);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  if (complaint !== '') failed += 1;
  console.log(
    `${complaint === '' ? '✔' : '✖'} ${name} · ${seconds} s${complaint === '' ? '' : `\n${complaint}`}`,
  );
}

/** All that the command printed when it failed; nothing when it did not. */
async function complaintOf(command: Command): Promise<string> {
  const { code, output } = await run(command);
  return code === 0 ? '' : output || `ended with ${code}`;
}

/** `code` is null when the command could not be run, or was killed. */
function run([program, args]: Command): Promise<{ code: number | null; output: string }> {
  return new Promise(resolve => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const collect = (chunk: Buffer) => (output += chunk.toString());
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', error => resolve({ code: null, output: error.message }));
    child.once('close', code => resolve({ code, output }));
  });
}

/** Generates again, elsewhere, and compares. */
async function protocolIsInStep(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-proto-'));
  try {
    const complaint = await complaintOf([bin('buf'), ['generate', '--output', folder]]);
    if (complaint !== '') return complaint;
    const [fresh, committed] = await Promise.all([folder, root].map(generatedFiles));
    return isDeepStrictEqual(fresh, committed) ? '' : 'proto/gen differs from proto/agent.proto: npm run gen';
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function generatedFiles(base: string): Promise<Map<string, string>> {
  const folder = join(base, 'proto/gen');
  const names = (await readdir(folder)).sort();
  const texts = await Promise.all(names.map(name => readFile(join(folder, name), 'utf8')));
  return new Map(names.map((name, index) => [name, texts[index] ?? '']));
}

/** What an install would compare, too, but without a network. */
async function lockfileIsInStep(): Promise<string> {
  const [manifest, lock] = await Promise.all(['package.json', 'package-lock.json'].map(readJson));
  const locked = childOf(childOf(lock, 'packages'), '');
  const complaints = ['name', 'version', 'license', 'engines', 'dependencies', 'devDependencies']
    .filter(key => !isDeepStrictEqual(childOf(manifest, key), childOf(locked, key)))
    .map(key => `package-lock.json knows another "${key}" than package.json: npm install`);
  // An address would tie an install to whatever registry the last writer used.
  if (JSON.stringify(lock).includes('"resolved"')) {
    complaints.push('package-lock.json carries download addresses: see .npmrc');
  }
  return complaints.join('\n');
}

/** Generated code may switch off a linter of other people's. */
function nothingIsSwitchedOff(): Promise<string> {
  const disable = '(eslint|oxlint)-disable|@ts-(ignore|expect-error|nocheck)|prettier-ignore';
  return occurrences(`${disable}|(c8|v8|istanbul) ignore`, ['--', '*.ts', '*.mjs', '*.cjs', ':!proto/gen']);
}

function pathsAreEverybodys(): Promise<string> {
  const here = [root, `${homedir()}/`].filter(path => path.split('/').length > 3).map(escape);
  return occurrences([...here, '(/home|/Users)/[A-Za-z0-9_.-]+/'].join('|'), ['--', '.']);
}

/** Lines of committed files, and of those about to be, that match; none where there is no repository to look into. */
async function occurrences(pattern: string, files: string[]): Promise<string> {
  const grep = ['grep', '--untracked', '-nIE', '-e', pattern, ...files, ':!processes/gen/check.ts'];
  const { code, output } = await run(['git', grep]);
  return code === 0 ? output.trimEnd() : '';
}

function escape(path: string): string {
  return path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

async function readJson(name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(root, name), 'utf8'));
}

function childOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}
