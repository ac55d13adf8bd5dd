import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Client as GrpcClient, credentials } from '@grpc/grpc-js';
import { lockFile } from './fileLock.js';
import { isFree, LOOPBACK, pickPort } from './ports.js';
import type { Escalation } from './processTable.js';
import { untilReady } from './readiness.js';
import { endLeftover, logFileOf, pidFileOf, startService, type Service } from './service.js';
import { findTemporalCli } from './temporalCli.js';
import { defaultCacheDir, type Say } from './tools.js';

const DEFAULT_PORT = 7233;
const DEFAULT_UI_PORT = 8233;
const READY_TIMEOUT_MS = 60_000;
const PROBE_DEADLINE_MS = 2000;
/** The first probes come before the port opens; gRPC would then wait a second and more before it tries again. */
const QUICK_RECONNECT = { 'grpc.initial_reconnect_backoff_ms': 50, 'grpc.max_reconnect_backoff_ms': 50 };
/** SQLite keeps what was committed whatever ends the server, so politeness need not last. */
const STOP_BY: Escalation = [
  ['SIGTERM', 2500],
  ['SIGKILL', 2500],
];

const SEARCH_ATTRIBUTES = {
  AymcServerId: 'Keyword',
  AymcAgentId: 'Keyword',
  AymcUserId: 'Keyword',
  AymcOpKind: 'Keyword',
  AymcOutcome: 'Keyword',
  AymcTrigger: 'Keyword',
  AymcNeedsOperator: 'Bool',
  AymcEpoch: 'Int',
} as const;

export interface EmbeddedTemporal extends Service {
  /** `host:port` of the gRPC front end. */
  readonly address: string;
  readonly port: number;
  readonly uiPort: number;
  readonly uiUrl: string;
  readonly namespace: string;
}

interface Options {
  /** Everything it keeps lies here: the database file, its log, its pid. */
  readonly dataDir: string;
  /** Must be free when given; otherwise the usual one, or a free one when that is taken. */
  readonly port?: number;
  readonly uiPort?: number;
  readonly namespace?: string;
  readonly cacheDir?: string;
  readonly say?: Say;
  readonly signal?: AbortSignal;
}

/**
 * Starts a Temporal dev server on a file, on 127.0.0.1 only, and answers once it serves its namespace. What a killed
 * predecessor left on the same data dir is ended first; a live one is an error.
 */
export async function startTemporal(options: Options): Promise<EmbeddedTemporal> {
  const {
    dataDir,
    namespace = 'default',
    cacheDir = defaultCacheDir(),
    say = () => undefined,
    signal,
  } = options;
  const folder = join(dataDir, 'temporal');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = await lockFile(join(folder, 'lock'));
  if (!lock) throw new Error(`another process runs Temporal on ${folder}`);
  try {
    const pidFile = pidFileOf(dataDir, 'temporal');
    if (await endLeftover(pidFile, STOP_BY)) say('Ended a Temporal server that a killed predecessor left.');
    const cli = await findTemporalCli({ cacheDirs: [cacheDir, join(dataDir, 'cache')], say, signal });
    const port = await choose(options.port, DEFAULT_PORT);
    const uiPort = await choose(options.uiPort, DEFAULT_UI_PORT);
    const logFile = logFileOf(dataDir, 'temporal');
    const service = await startService({
      name: 'Temporal',
      command: cli,
      args: serverArgs({ folder, port, uiPort, namespace }),
      // A clean environment: TEMPORAL_… variables meant for clients would steer the server.
      env: { HOME: folder },
      cwd: folder,
      output: logFile,
      pidFile,
      stopBy: STOP_BY,
    });
    void service.exited.then(() => lock.release());
    const address = `${LOOPBACK}:${port}`;
    const client = new GrpcClient(address, credentials.createInsecure(), QUICK_RECONNECT);
    const probe = () => describeNamespace(client, namespace);
    await untilReady(service, probe, {
      name: 'Temporal',
      timeoutMs: READY_TIMEOUT_MS,
      signal,
      logFile,
    }).finally(() => client.close());
    return { ...service, address, port, uiPort, uiUrl: `http://${LOOPBACK}:${uiPort}`, namespace };
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface ServerArgs {
  readonly folder: string;
  readonly port: number;
  readonly uiPort: number;
  readonly namespace: string;
}

function serverArgs({ folder, port, uiPort, namespace }: ServerArgs): string[] {
  return [
    'server',
    'start-dev',
    `--ip=${LOOPBACK}`,
    `--port=${port}`,
    `--ui-port=${uiPort}`,
    `--db-filename=${join(folder, 'temporal.db')}`,
    `--namespace=${namespace}`,
    '--log-level=warn',
    // With a write-ahead log an operation costs a third of what it does with SQLite's default, and `full` still
    // syncs each commit.
    '--sqlite-pragma=journal_mode=wal',
    '--sqlite-pragma=synchronous=full',
    ...Object.entries(SEARCH_ATTRIBUTES).map(([name, type]) => `--search-attribute=${name}=${type}`),
  ];
}

async function choose(given: number | undefined, usual: number): Promise<number> {
  if (given === undefined) return pickPort(usual);
  if (!(await isFree(given))) throw new Error(`port ${given} is taken`);
  return given;
}

/**
 * A real call, since the port opens well before the namespace can be used. Spoken with bare gRPC: the SDK's client
 * would cost this process, which only watches others, 50 MB and a second of loading.
 */
function describeNamespace(client: GrpcClient, namespace: string): Promise<boolean> {
  const request = Buffer.from(namespace);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      '/temporal.api.workflowservice.v1.WorkflowService/DescribeNamespace',
      // DescribeNamespaceRequest { string namespace = 1; } with a length of two bytes, enough for any name
      (name: Buffer) =>
        Buffer.concat([Buffer.from([0x0a, (name.length & 0x7f) | 0x80, name.length >> 7]), name]),
      (answer: Buffer) => answer,
      request,
      { deadline: Date.now() + PROBE_DEADLINE_MS },
      error => (error ? reject(error) : resolve(true)),
    );
  });
}
