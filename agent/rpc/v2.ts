import type { AgentServiceServer, ServerStates, WorkKey, WorkStatus } from '#proto/gen/agent.js';
import { AgentError } from '../errors.js';
import { bootId, cpuCores, diskUse, memoryTotalBytes, osName } from '../system.js';
import { AGENT_VERSION } from '../version.js';
import { isTerminal } from '../work/ledger.js';
import type { RpcDeps } from './deps.js';
import { streamEvents } from './events.js';
import { type FileRpcs, fileRpcs } from './files.js';
import { type Out, serverStream, unary } from './handlers.js';

type Version2 = FileRpcs &
  Pick<
    AgentServiceServer,
    'hello' | 'inspectServers' | 'submitWork' | 'watchWork' | 'cancelWork' | 'streamEvents'
  >;

/** Absent = cannot. `leases` is there where a control plane can be asked for one. */
const CAPABILITIES = ['work', 'dedup', 'adopt', 'events', 'provision', 'samples', 'files', 'upgrade'];
/** Progress comes at most this often; the end of a step at once. */
const PROGRESS_EVERY_MS = 200;

export function version2(deps: RpcDeps): Version2 {
  const { runner } = deps;
  return {
    ...fileRpcs(deps),

    hello: unary(deps, async () => ({
      agentId: deps.agentId,
      version: AGENT_VERSION,
      bootId: bootId(),
      incarnation: deps.incarnation,
      capabilities: deps.leases.canRenew ? [...CAPABILITIES, 'leases'] : CAPABILITIES,
      javaRuntimes: await deps.java.find(),
      os: await osName(),
      cpuCores: cpuCores(),
      memoryTotalBytes: memoryTotalBytes(),
      diskTotalBytes: (await diskUse(deps.paths.workDir)).totalBytes,
      maxServers: deps.maxServers,
      arch: process.arch,
    })),

    inspectServers: unary(deps, () => inspectServers(deps)),

    submitWork: unary(deps, request => runner.submit(request)),

    cancelWork: unary(deps, key => runner.cancel(key)),

    watchWork: serverStream(deps, (key, out, { signal }) => watchWork(deps, key, out, signal)),

    streamEvents: serverStream(deps, (request, out, { signal, log }) =>
      streamEvents({ ...deps, log }, request, out, signal),
    ),
  };
}

async function inspectServers({ registry, incarnation }: RpcDeps): Promise<ServerStates> {
  const servers = await Promise.all(
    registry.all().map(async server => {
      await server.look();
      return server.describe();
    }),
  );
  return { servers, bootId: bootId(), incarnation };
}

/** Sends the newest state, never a queue of old ones: a slow watcher skips progress and sees the end. */
async function watchWork(
  { runner }: RpcDeps,
  key: WorkKey,
  out: Out<WorkStatus>,
  signal: AbortSignal,
): Promise<void> {
  let wake: () => void = () => undefined;
  let changed = true;
  const unwatch = runner.watch(key, () => {
    changed = true;
    wake();
  });
  signal.addEventListener('abort', () => wake());
  try {
    let sentAt = 0;
    while (!signal.aborted) {
      const status = runner.status(key);
      if (isTerminal(status.state)) return await out.write(status);
      const early = sentAt + PROGRESS_EVERY_MS - performance.now();
      if (changed && early <= 0) {
        changed = false;
        sentAt = performance.now();
        await out.write(status);
        continue;
      }
      await new Promise<void>(resolve => {
        const timer = changed ? setTimeout(resolve, early) : undefined;
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    throw new AgentError('cancelled', 'the caller hung up');
  } finally {
    unwatch();
  }
}
