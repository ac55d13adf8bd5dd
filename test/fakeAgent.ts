import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import {
  AgentServiceService,
  type CrashCause,
  type ServerState,
  type WorkRequest,
} from '#proto/gen/agent.js';
import type { AgentAddress } from '#src/agents/gateway.js';
import { selfSigned, type SelfSigned } from './fakeAgent/certificate.js';
import { EventLog } from './fakeAgent/eventLog.js';
import { FakeFiles } from './fakeAgent/files.js';
import { Ledger } from './fakeAgent/ledger.js';
import { Script, type ScriptLine } from './fakeAgent/script.js';
import type { EmittedSample } from './fakeAgent/sampleLog.js';
import { FakeServers, type Effects } from './fakeAgent/servers.js';
import { FakeService, type RecordedCall } from './fakeAgent/service.js';
import { Timers } from './fakeAgent/timers.js';

export { hang, loseReply, neverReady, onStart, onStop, onWork, refuse } from './fakeAgent/script.js';
export type { Effects, RecordedCall, ScriptLine };

export interface FakeAgentOptions {
  /** Row id that `address` carries; a random one by default. */
  id?: string;
  /** What callers must send; anybody may call without. */
  token?: string;
  /** With a certificate of its own, and `address` pinned to it; else plaintext. */
  tls?: boolean;
  /** Refuse to start what was never provisioned (default: any server id will boot). */
  requireProvision?: boolean;
  /** An agent of version 1 has none of `files`: its own ways with them are there, too. */
  capabilities?: readonly string[];
  script?: readonly ScriptLine[];
}

/**
 * An agent of version 2 over real gRPC and with no host behind it: the ledger's rules to the letter, servers that only
 * exist as state. What it does beyond that is scripted.
 */
export interface FakeAgent {
  /** How to reach it as it is now: port and fingerprint may change in a restart. */
  readonly address: AgentAddress;
  readonly port: number;
  /** The latest thousand, oldest first. */
  readonly calls: readonly RecordedCall[];
  readonly openStreams: Readonly<Record<'watchWork' | 'streamEvents' | 'downloadFile', number>>;
  readonly servers: ReadonlyMap<string, ServerState>;
  /** `effects.start[serverId]`: how often a process was really started. */
  readonly effects: Effects;
  /** The work that was accepted last. */
  readonly lastWork: WorkRequest | undefined;
  /** Later lines outrank earlier ones. */
  script(...lines: ScriptLine[]): void;
  /** Takes back all lines, or all of one type, e.g. `hang`. */
  clearScript(type?: ScriptLine['type']): void;
  /** The server's process ends by itself; without an exit code nobody saw it. */
  crash(serverId: string, exitCode: number | undefined, cause?: CrashCause): void;
  /** Someone types `stop` on the server's console. */
  exit(serverId: string): void;
  /** Console lines of the present run. */
  emit(event: { serverId: string; lines: readonly string[] }): void;
  /** The next sample of this incarnation: of the host, and of servers, silent ones by `unresponsiveSeconds`. */
  emitSample(sample?: EmittedSample): void;
  /** The agent process dies and comes back on the same port; servers and ledger outlive it, as with a real one. */
  restart(options?: RestartOptions): Promise<void>;
  /** Closes the port as a dead process would; `restart` brings it back. */
  goDown(): void;
  stop(): Promise<void>;
}

export interface RestartOptions {
  newCertificate?: boolean;
  loseJournal?: boolean;
  /** Its host went down and came up: a new boot id, and every process ended unseen. */
  rebooted?: boolean;
  /** On an empty disk: it knows nothing any more. */
  reinstalled?: boolean;
}

const HOST = '127.0.0.1';

export async function startFakeAgent(options: FakeAgentOptions = {}): Promise<FakeAgent> {
  const id = options.id ?? randomUUID();
  const timers = new Timers();
  const script = new Script();
  script.play(options.script ?? []);
  const identity = { agentId: `fake-${id.slice(0, 8)}`, bootId: randomUUID(), incarnation: randomUUID() };
  const log = new EventLog(identity);
  const servers = new FakeServers(log);
  const ledger = new Ledger({
    servers,
    script,
    timers,
    requireProvision: options.requireProvision ?? false,
  });
  const service = new FakeService({
    token: options.token,
    script,
    servers,
    ledger,
    log,
    files: new FakeFiles(),
    capabilities: options.capabilities ?? [
      'work',
      'dedup',
      'adopt',
      'events',
      'provision',
      'files',
      'upgrade',
    ],
    identity,
  });

  let certificate = options.tls ? selfSigned() : undefined;
  let server = await listen(service, certificate, 0);
  const { port } = server;

  return {
    get address(): AgentAddress {
      return {
        id,
        host: HOST,
        port,
        tls_mode: certificate ? 'pinned' : 'plaintext',
        tls_fingerprint: certificate?.fingerprint ?? null,
        token: options.token ?? null,
      };
    },
    port,
    calls: service.calls,
    openStreams: service.openStreams,
    servers: servers.states,
    effects: servers.effects,
    get lastWork() {
      return ledger.newest;
    },
    script: (...lines) => script.play(lines),
    clearScript: type => script.clear(type),
    crash(serverId, exitCode, cause) {
      servers.crash(serverId, exitCode, cause);
      ledger.processEnded(serverId);
    },
    exit: serverId => servers.exit(serverId),
    emit: ({ serverId, lines }) => log.print(serverId, lines),
    emitSample(sample = {}) {
      log.samples.add(sample, serverId => servers.snapshot(serverId).runId);
      log.wake();
    },
    async restart({ newCertificate, loseJournal, rebooted, reinstalled } = {}) {
      server.shutDown();
      if (newCertificate) certificate = selfSigned();
      if (rebooted) {
        identity.bootId = randomUUID();
        for (const serverId of servers.states.keys()) servers.crash(serverId, undefined);
      }
      if (reinstalled) {
        servers.states.clear();
        ledger.forget();
      }
      if (loseJournal || reinstalled) log.loseJournal();
      identity.incarnation = randomUUID();
      log.samples.begin();
      server = await listen(service, certificate, port);
      servers.adopt();
    },
    goDown: () => server.shutDown(),
    async stop() {
      timers.clear();
      server.shutDown();
      await nextTurn();
    },
  };
}

async function listen(
  service: FakeService,
  certificate: SelfSigned | undefined,
  port: number,
): Promise<{ port: number; shutDown: () => void }> {
  // Channelz stays on: without it grpc-js loses count of its sessions, and forceShutdown leaves them open.
  const server = new Server({ 'grpc.max_receive_message_length': 10 * 1024 * 1024 });
  server.addService(AgentServiceService, { ...service.handlers });
  const credentials = certificate
    ? ServerCredentials.createSsl(null, [
        { private_key: Buffer.from(certificate.key), cert_chain: Buffer.from(certificate.cert) },
      ])
    : ServerCredentials.createInsecure();
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${HOST}:${port}`, credentials, (error, boundPort) => {
      if (error) reject(error);
      else resolve(boundPort);
    });
  });
  return { port: bound, shutDown: () => server.forceShutdown() };
}
