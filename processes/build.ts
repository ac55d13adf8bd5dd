import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { identify } from './dev/processTable.js';

/**
 * Compiles everything that runs in production into `dist/`, which then needs nothing but plain node and
 * `node_modules`. Types are checked by `npm run check`; skipping that here makes a start after a change quick.
 *
 * It is made beside and swapped in when complete: what runs from `dist/` meanwhile can start its parts again at any
 * time, and code that does not compile changes nothing.
 */
const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
/** As deep as `dist`, since source maps name their sources by relative paths. */
const next = `${dist}.next-${process.pid}`;

function prepare(): void {
  for (const name of readdirSync(root)) {
    const builder = /^dist\.(?:next|old)-(\d+)$/.exec(name)?.[1];
    if (builder !== undefined && !identify(Number(builder))) rmSync(join(root, name), { recursive: true });
  }
  mkdirSync(next);
  writeFileSync(join(next, '.gitignore'), '*\n');
}

function compile(): boolean {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['-p', 'tsconfig.build.json', '--noCheck', '--outDir', next];
  return spawnSync(process.execPath, [tsc, ...options], { cwd: root, stdio: 'inherit' }).status === 0;
}

/** What the code reads beside itself, such as the guard's shell script. */
function copyAssets(folders: readonly string[]): void {
  for (const folder of folders) {
    cpSync(join(root, folder), join(next, folder), {
      recursive: true,
      filter: path => !['.ts', '.md', '.mjs'].includes(extname(path)) && !path.endsWith('tsconfig.json'),
    });
  }
}

/** `#src/…` means `dist/src/…` in there. */
function writeManifest(): void {
  const { imports } = readJson('package.json');
  const manifest = JSON.stringify({ type: 'module', private: true, imports }, null, 2);
  writeFileSync(join(next, 'package.json'), manifest);
}

/** From the sources rather than from what was compiled: stack traces in the Temporal UI then name their lines. */
async function bundleWorkflows(): Promise<void> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(root, 'workflows', 'index.ts'),
    logger: new DefaultLogger('WARN'),
  });
  writeFileSync(join(next, 'workflow-bundle.js'), code);
}

function swapIn(): void {
  const old = `${dist}.old-${process.pid}`;
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(next, dist);
  rmSync(old, { recursive: true, force: true });
}

function sourceFolders(): string[] {
  const folders = readJson('tsconfig.build.json')['include'];
  if (!Array.isArray(folders)) throw new Error('tsconfig.build.json names no folders');
  return folders.map(String);
}

function readJson(path: string): Record<string, unknown> {
  const document: unknown = JSON.parse(readFileSync(join(root, path), 'utf8'));
  if (typeof document !== 'object' || document === null) throw new Error(`${path} holds no object`);
  return { ...document };
}

prepare();
try {
  if (compile()) {
    copyAssets(sourceFolders());
    writeManifest();
    await bundleWorkflows();
    swapIn();
  } else {
    process.exitCode = 1;
  }
} finally {
  rmSync(next, { recursive: true, force: true });
}
