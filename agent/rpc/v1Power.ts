import { randomUUID } from 'node:crypto';
import type { Metadata } from '@grpc/grpc-js';
import {
  type AgentServiceServer,
  type CommandResponse,
  type LogEntry,
  type ServerConfig,
  type ServerInfo,
  type ServerResponse,
  type StartWork,
  type WorkKey,
  WorkState,
} from '#proto/gen/agent.js';
import { AgentError, toAgentError } from '../errors.js';
import { writeConsole } from '../server/console.js';
import { parseLogLine } from '../server/logLine.js';
import { parseServerId } from '../server/paths.js';
import type { ManagedServer } from '../server/server.js';
import { STATE_NAMES } from '../server/state.js';
import type { Work } from '../work/task.js';
import { STOP_TIMES } from '../work/stop.js';
import type { RpcDeps } from './deps.js';
import { EventReader } from './events.js';
import { type CallContext, type Out, serverStream, unary } from './handlers.js';

export type Power = Pick<
  AgentServiceServer,
  'listServers' | 'getServer' | 'startServer' | 'stopServer' | 'restartServer' | 'sendCommand' | 'streamLogs'
>;

/** These answer when it is done; the work goes on when the caller does not wait for it. */
const POWER_LIMIT_MS = 5 * 60_000;
const READY_TIMEOUT_SECONDS = 180;
const STOP: Work = { $case: 'stop', stop: { ...STOP_TIMES, runId: '' } };

export function version1Power(deps: RpcDeps): Power {
  const { registry } = deps;
  return {
    listServers: unary(deps, () => ({ servers: registry.all().map(server => infoOf(server)) })),

    getServer: unary(deps, ({ serverId }) => {
      const server = registry.get(parseServerId(serverId));
      if (!server) throw new AgentError('not-found', 'this agent has no such server');
      return infoOf(server);
    }),

    startServer: unary(
      deps,
      async (request, context) => {
        const server = await registry.find(parseServerId(request.serverId));
        const { name, type, version } = request;
        if (registry.get(server.id)) await server.saveFacts({ name, type, version });
        const start = await startWork(deps, request.config, server);
        return runWork(deps, context, server, { $case: 'start', start });
      },
      POWER_LIMIT_MS,
    ),

    stopServer: unary(
      deps,
      async ({ serverId }, context) => {
        const server = await registry.find(parseServerId(serverId));
        return runWork(deps, context, server, STOP);
      },
      POWER_LIMIT_MS,
    ),

    restartServer: unary(
      deps,
      async ({ serverId }, context) => restart(deps, context, await registry.find(parseServerId(serverId))),
      POWER_LIMIT_MS,
    ),

    sendCommand: unary(deps, ({ serverId, command }, { metadata }) =>
      sendCommand(deps, parseServerId(serverId), command, metadata),
    ),

    streamLogs: serverStream(deps, ({ serverId }, out, { signal }) =>
      streamLogs(deps, parseServerId(serverId), out, signal),
    ),
  };
}

/** With what it was started with last. */
export async function restart(
  deps: RpcDeps,
  context: CallContext,
  server: ManagedServer,
): Promise<ServerResponse> {
  const stopped = await runWork(deps, context, server, STOP, 'stop');
  if (!stopped.success) return stopped;
  const start = await startWork(deps, undefined, server);
  return runWork(deps, context, server, { $case: 'start', start }, 'start');
}

/** Submits a step under the caller's pair, or one of our own, and waits for its end. */
async function runWork(
  { runner, ledger }: RpcDeps,
  { metadata, signal }: CallContext,
  server: ManagedServer,
  work: Work,
  suffix?: string,
): Promise<ServerResponse> {
  const given = keyIn(metadata) ?? { opId: `v1-${randomUUID()}`, step: work.$case };
  const key = suffix === undefined ? given : { ...given, step: `${given.step}:${suffix}` };
  try {
    await runner.submit({ key, serverId: server.id, ...ledger.fenceOf(server.id), undo: false, work });
    const status = await runner.settled(key, signal);
    if (status.state === WorkState.SUCCEEDED) return { success: true, message: 'ok', server: infoOf(server) };
    return { success: false, message: `${status.errorCode}: ${status.errorDetail}`, server: infoOf(server) };
  } catch (error) {
    if (signal.aborted) throw error;
    const { code, detail } = toAgentError(error);
    return { success: false, message: `${code}: ${detail}`, server: infoOf(server) };
  }
}

/**
 * With `op-id` and `step` the same command is sent at most once, also across our own restarts. Failures of the domain
 * come as errors here, unlike in version 1: a command that did not arrive must not pass for one that did.
 */
async function sendCommand(
  { runner, registry }: RpcDeps,
  serverId: string,
  command: string,
  metadata: Metadata,
): Promise<CommandResponse> {
  const server = registry.get(serverId);
  if (!server) throw new AgentError('not-found', 'this agent has no such server');
  const send = async (): Promise<void> => {
    await server.look();
    const { run } = server;
    if (run === undefined || !server.alive)
      throw new AgentError('server-not-running', 'the server is not running');
    await writeConsole(run.fifoPath, command);
  };
  const key = keyIn(metadata);
  if (key) await runner.once(key, server.id, send);
  else await send();
  return { success: true, message: 'sent', output: '' };
}

/** From the present end on, until the caller hangs up. */
async function streamLogs(
  deps: RpcDeps,
  serverId: string,
  out: Out<LogEntry>,
  signal: AbortSignal,
): Promise<void> {
  if (!deps.registry.get(serverId)) throw new AgentError('not-found', 'this agent has no such server');
  const reader = new EventReader(
    deps,
    { state: deps.journal.lastSeq, sample: deps.samples.lastSeq },
    serverId,
  );
  try {
    await reader.seek({});
    while (!signal.aborted) {
      const { events } = await reader.next();
      for (const { event, atMs } of events) {
        if (event?.$case !== 'console') continue;
        for (const line of event.console.lines) await out.write(logEntry(serverId, atMs, line));
      }
      if (events.length === 0) await reader.somethingNew(signal);
    }
  } finally {
    reader.close();
  }
}

function logEntry(serverId: string, timestamp: number, raw: string): LogEntry {
  const { level, source, message } = parseLogLine(raw);
  return { timestamp, serverId, level, source, message, plugin: '', file: '', line: 0 };
}

function keyIn(metadata: Metadata): WorkKey | undefined {
  const [opId] = metadata.get('op-id');
  const [step] = metadata.get('step');
  return opId === undefined || step === undefined ? undefined : { opId: String(opId), step: String(step) };
}

async function startWork(
  { leases }: RpcDeps,
  config: ServerConfig | undefined,
  server: ManagedServer,
): Promise<StartWork> {
  const { facts } = server;
  return {
    // Version 1 knows neither port nor EULA: both stay as the files have them.
    settings: undefined,
    memoryMinMb: megabytes(config?.minRam) ?? facts.memoryMinMb ?? 0,
    memoryMaxMb: megabytes(config?.maxRam) ?? facts.memoryMaxMb ?? 0,
    javaArgs: config?.javaArgs ?? [...(facts.javaArgs ?? [])],
    jarFile: config?.jarFile || facts.jarFile || '',
    javaMajor: 0,
    javaPinned: false,
    readyTimeoutSeconds: READY_TIMEOUT_SECONDS,
    serverType: facts.type ?? '',
    // Version 1 does not say: it stays what it was.
    leased: await leases.isLeased(server),
  };
}

/** `2G`, `2048M`, `2048` (MB); undefined when it says nothing. */
function megabytes(text: string | undefined): number | undefined {
  const match = /^(\d{1,7})([GM]?)B?$/i.exec(text?.trim() ?? '');
  if (!match) return undefined;
  return Number(match[1]) * (match[2]?.toUpperCase() === 'G' ? 1024 : 1);
}

function infoOf(server: ManagedServer): ServerInfo {
  const { facts } = server;
  const memory = (mb: number | undefined): string => (mb ? `${mb}M` : '');
  return {
    id: server.id,
    name: facts.name ?? '',
    type: facts.type ?? '',
    version: facts.version ?? '',
    javaVersion: facts.javaVersion ?? '',
    port: facts.port ?? 0,
    status: STATE_NAMES[server.state],
    pid: server.jvm?.pid ?? 0,
    startTime: Math.floor((server.run?.startedAtMs ?? 0) / 1000),
    workDir: server.paths.folder,
    config: {
      minRam: memory(facts.memoryMinMb),
      maxRam: memory(facts.memoryMaxMb),
      javaArgs: [...(facts.javaArgs ?? [])],
      jarFile: facts.jarFile ?? '',
      autoRestart: false,
      customArgs: {},
    },
  };
}
