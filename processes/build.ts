import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';

/**
 * Compiles everything that runs in production into `dist/`, which then needs nothing but plain node and
 * `node_modules`. Types are checked by `npm run check`; skipping that here makes a start after a change quick.
 */
const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

function compile(): void {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['-p', 'tsconfig.build.json', '--noCheck'];
  const { status } = spawnSync(process.execPath, [tsc, ...options], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error('the compiler found errors');
}

/** What the code reads beside itself, such as the guard's shell script and the agents' protocol. */
function copyAssets(folders: readonly string[]): void {
  for (const folder of folders) {
    cpSync(join(root, folder), join(dist, folder), {
      recursive: true,
      filter: path => !['.ts', '.md', '.mjs'].includes(extname(path)) && !path.endsWith('tsconfig.json'),
    });
  }
}

/** `#src/…` means `dist/src/…` in there. */
function writeManifest(): void {
  const { imports } = readJson('package.json');
  writeFileSync(
    join(dist, 'package.json'),
    JSON.stringify({ type: 'module', private: true, imports }, null, 2),
  );
}

/** From the sources rather than from what was compiled: stack traces in the Temporal UI then name their lines. */
async function bundleWorkflows(): Promise<void> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: join(root, 'workflows', 'index.ts'),
    logger: new DefaultLogger('WARN'),
  });
  writeFileSync(join(dist, 'workflow-bundle.js'), code);
}

function readJson(path: string): Record<string, unknown> {
  const document: unknown = JSON.parse(readFileSync(join(root, path), 'utf8'));
  if (typeof document !== 'object' || document === null) throw new Error(`${path} holds no object`);
  return { ...document };
}

const folders = readJson('tsconfig.build.json')['include'];
if (!Array.isArray(folders)) throw new Error('tsconfig.build.json names no folders');
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
compile();
copyAssets(folders.map(String));
writeManifest();
await bundleWorkflows();
