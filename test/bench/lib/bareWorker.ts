import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import type { Installation } from './installation.js';
import { startProgram } from './processes.js';

const WORKER = fileURLToPath(new URL('../bare/worker.mjs', import.meta.url));
const WORKFLOW = fileURLToPath(new URL('../bare/workflow.mjs', import.meta.url));

export interface BareWorker {
  readonly pid: number;
  /** Runs so many bare workflows, `concurrency` starts at a time; answers how long all took, in ms. */
  run(count: number, concurrency: number): Promise<number>;
  stop(): Promise<void>;
}

/** A process with a Temporal worker and nothing of ours, on the same Temporal server. */
export async function startBareWorker({ folder, temporal }: Installation): Promise<BareWorker> {
  const bundle = join(folder, 'bare-bundle.js');
  const { code } = await bundleWorkflowCode({ workflowsPath: WORKFLOW, logger: new DefaultLogger('ERROR') });
  writeFileSync(bundle, code);
  const { address, namespace } = temporal;
  const { pid, child, stop } = await startProgram({
    args: [WORKER, JSON.stringify({ address, namespace, bundle })],
    env: {},
    cwd: folder,
    logFile: join(folder, 'bare-worker.log'),
    ready: /bare worker polls/,
    ipc: true,
  });
  return {
    pid,
    stop,
    async run(count, concurrency) {
      const answered = nextMessage(child);
      child.send({ count, concurrency });
      const answer = await answered;
      if (!isTiming(answer)) throw new Error('the bare worker answered nonsense');
      return answer.tookMs;
    },
  };
}

function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', () => reject(new Error('the bare worker has ended')));
  });
}

function isTiming(answer: unknown): answer is { tookMs: number } {
  return (
    typeof answer === 'object' && answer !== null && 'tookMs' in answer && typeof answer.tookMs === 'number'
  );
}
