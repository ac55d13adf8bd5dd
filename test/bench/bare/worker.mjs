// A Temporal worker and nothing else, under plain node as the product runs: what ours are compared with.
// Settings come as JSON in the first argument; a message {count, concurrency} runs so many workflows and is answered
// by {tookMs}, counted to the last step of the last one.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Client } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';

const { address, namespace, bundle } = JSON.parse(process.argv[2] ?? '{}');
const TASK_QUEUE = 'bare';

Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('WARN') });
const connection = await NativeConnection.connect({ address });
const client = new Client({ connection, namespace });

let ended = 0;
let onEnd = () => undefined;

const worker = await Worker.create({
  connection,
  namespace,
  taskQueue: TASK_QUEUE,
  workflowBundle: { code: readFileSync(bundle, 'utf8') },
  maxCachedWorkflows: 250,
  stickyQueueScheduleToStartTimeout: '2s',
  maxConcurrentActivityTaskExecutions: 200,
  maxHeartbeatThrottleInterval: '1s',
  defaultHeartbeatThrottleInterval: '1s',
  activities: {
    async step(last) {
      if (!last) return;
      ended += 1;
      onEnd();
    },
    async work() {},
  },
});
const running = worker.run();
console.log('bare worker polls');

let started = 0;
async function startOne() {
  started += 1;
  await client.workflow.start('bareOperation', {
    taskQueue: TASK_QUEUE,
    workflowId: `bare:${process.pid}:${started}`,
    workflowIdReusePolicy: 'REJECT_DUPLICATE',
    workflowTaskTimeout: '4s',
    requestEagerStart: true,
  });
}

async function run({ count, concurrency }) {
  const began = performance.now();
  ended = 0;
  const allEnded = new Promise(resolve => {
    onEnd = () => {
      if (ended === count) resolve(undefined);
    };
  });
  let left = count;
  const starters = Array.from({ length: concurrency }, async () => {
    while (left-- > 0) await startOne();
  });
  await Promise.all([...starters, allEnded]);
  return { tookMs: performance.now() - began };
}

process.on('message', request => {
  void run(request).then(timing => process.send?.(timing));
});
await once(process, 'SIGTERM');
process.disconnect?.();
worker.shutdown();
await running;
await connection.close();
