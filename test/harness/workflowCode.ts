import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WorkflowCoverage } from '@temporalio/nyc-test-coverage';
import { bundleWorkflowCode, DefaultLogger, type WorkerOptions } from '@temporalio/worker';

const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
const COVERAGE_DIR = process.env['AYMC_COVERAGE_DIR'];

declare global {
  // Istanbul's own name for it; the coverage package only merges into one that is there.
  var __coverage__: Record<string, unknown> | undefined;
}
globalThis.__coverage__ ??= {};

const coverage = new WorkflowCoverage();
let bundle: Promise<{ code: string }> | undefined;

/** The workflow code as tests run it, bundled once per process and instrumented. */
export async function withWorkflowCode(options: WorkerOptions): Promise<WorkerOptions> {
  bundle ??= bundleWorkflowCode(
    coverage.augmentBundleOptions({ workflowsPath, logger: new DefaultLogger('ERROR') }),
  );
  const { workflowsPath: _sources, ...rest } = options;
  return coverage.augmentWorkerOptionsWithBundle({ ...rest, workflowBundle: await bundle });
}

/** Leaves what the workflows of this process ran for the merged report: a bundle of source maps, seconds on a busy machine. */
async function writeWorkflowCoverage(this: Mocha.Context): Promise<void> {
  this.timeout(60_000);
  if (!COVERAGE_DIR || !bundle) return;
  coverage.mergeIntoGlobalCoverage();
  await mkdir(COVERAGE_DIR, { recursive: true });
  await writeFile(
    join(COVERAGE_DIR, `workflows-${process.pid}.json`),
    JSON.stringify(globalThis.__coverage__),
  );
}

if (typeof after === 'function') after('write the coverage of workflows', writeWorkflowCoverage);
