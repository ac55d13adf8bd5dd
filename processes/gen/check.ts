/** `npm run check`: everything that can be said about the code without running it, in parallel, a line each. */
import { spawn } from 'node:child_process';
import { availableParallelism, tmpdir } from 'node:os';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const bin = (name: string) => join(root, 'node_modules/.bin', name);
const node = (...args: string[]): Command => [process.execPath, ['--import', 'tsx', ...args]];

type Command = [program: string, args: string[]];
type Check = Command | (() => Promise<string>);

/** Slowest first. What a function answers is what is wrong. */
const CHECKS: Record<string, Check> = {
  'unused code (knip)': [bin('knip'), []],
  'generated: OpenAPI and errors': node('processes/gen/apiDocs.ts', '--check'),
  'generated: settings': node('processes/gen/configDocs.ts', '--check'),
  'generated: protocol': protocolIsInStep,
  'rooms (dependency-cruiser)': [
    bin('depcruise'),
    ['src', 'activities', 'workflows', 'processes', 'agent', 'migrations'],
  ],
  'lint (oxlint)': [bin('oxlint'), ['--type-aware']],
  'format (prettier)': [bin('prettier'), ['--check', '--log-level', 'warn', '.']],
  types: [bin('tsc'), ['-p', 'tsconfig.json']],
  'types of workflows': [bin('tsc'), ['-p', 'workflows/tsconfig.json']],
  'protocol (buf)': [bin('buf'), ['lint']],
  lockfile: lockfileIsClean,
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
  const complaint = typeof check === 'function' ? await check() : await run(check);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  if (complaint !== '') failed += 1;
  console.log(
    `${complaint === '' ? '✔' : '✖'} ${name} · ${seconds} s${complaint === '' ? '' : `\n${complaint}`}`,
  );
}

/** What the command printed when it failed; nothing when it did not. */
function run([program, args]: Command): Promise<string> {
  return new Promise(resolve => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const collect = (chunk: Buffer) => (output += chunk.toString());
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.once('error', error => resolve(error.message));
    child.once('close', code => resolve(code === 0 ? '' : output || `ended with ${code}`));
  });
}

/** Generates again, elsewhere, and compares. */
async function protocolIsInStep(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'aymc-proto-'));
  try {
    const complaint = await run([bin('buf'), ['generate', '--output', folder]]);
    if (complaint !== '') return complaint;
    const [fresh, committed] = await Promise.all(
      [folder, root].map(base => readFile(join(base, 'proto/gen/agent.ts'), 'utf8')),
    );
    return fresh === committed ? '' : 'proto/gen differs from proto/agent.proto: npm run gen';
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A download address would tie an install to whatever registry the last writer used. */
async function lockfileIsClean(): Promise<string> {
  const lock = await readFile(join(root, 'package-lock.json'), 'utf8');
  return lock.includes('"resolved"') ? 'package-lock.json carries download addresses: see .npmrc' : '';
}
