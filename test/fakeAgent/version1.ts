import { randomUUID } from 'node:crypto';
import { createServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { handleServerStreamingCall, handleUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import {
  AgentServiceService,
  type AgentServiceServer,
  type DownloadProgress,
  type DownloadRequest,
  type LogEntry,
  type ServerInfo,
  type ServerRequest,
  type ServerResponse,
  type StartServerRequest,
} from '#proto/gen/agent.js';
import type { AgentAddress } from '#src/agents/gateway.js';
import { selfSigned } from './certificate.js';
import { Timers } from './timers.js';
import { Version1Fault, Version1Files } from './version1Files.js';
import { Version1Plugins } from './version1Plugins.js';

const HOST = '127.0.0.1';
const CWD = '/opt/aymc';
const MESSAGE_BYTES_MAX = 10 * 1024 * 1024;
const CALLS_KEPT = 1_000;
const LINES_KEPT = 1_000;
export const FAKE_JAR_BYTES = 4_320;
const DROPPED = new Version1Fault('Connection dropped', status.UNAVAILABLE);

export interface FakeVersion1Options {
  id?: string;
  /** How long a stop takes, and keeps everybody else waiting; 30 s as in the field by default. */
  stopMs?: number;
  /** From exec to `Done`. Infinity: never ready. */
  readyMs?: number;
  /** A stop does not rid it of a server that has crashed. */
  keepsCrashed?: boolean;
}

export interface Version1Call {
  method: string;
  /** It came while a stop kept the agent from answering. */
  whileBlocked: boolean;
}

/** An agent of version 1 over real gRPC, with all that is peculiar to it, and no host behind it. */
export interface FakeVersion1Agent {
  readonly id: string;
  readonly port: number;
  /** Of the certificate of this start. */
  readonly fingerprint: string;
  readonly workDir: string;
  readonly address: AgentAddress;
  /** The latest thousand. */
  readonly calls: readonly Version1Call[];
  /** Open StreamLogs of a server. */
  readers(serverId: string): number;
  /** How often its process was really started. */
  starts(serverId: string): number;
  readonly files: Version1Files;
  /** Console commands that servers got. */
  readonly commands: readonly string[];
  isUp(): boolean;
  print(serverId: string, line: string, source?: 'STDOUT' | 'STDERR'): void;
  /** The server's process ends. It stays listed. */
  crash(serverId: string): void;
  setReadyMs(ms: number): void;
  /** The connection breaks at so many of the next calls: before they take effect, or when they have. */
  lose(method: LosableMethod, when: 'before' | 'after', times?: number): void;
  /** All connections break, and the agent lives on. */
  cut(): void;
  /** Process and all servers end. */
  die(): void;
  /** A new start: new certificate, and nothing is known of what ran before. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

type PluginHandlers = Pick<
  AgentServiceServer,
  'installPlugin' | 'updatePlugin' | 'uninstallPlugin' | 'listPlugins'
>;
export type LosableMethod = 'startServer' | 'stopServer' | 'downloadServer';

interface Process {
  info: ServerInfo;
  alive: boolean;
  /** Lines that nobody has read yet: each goes to one reader. */
  unread: LogEntry[];
  readers: { write(entry: LogEntry): void; end(): void }[];
  turn: number;
}

export async function startFakeVersion1Agent(options: FakeVersion1Options = {}): Promise<FakeVersion1Agent> {
  const agent = new Version1Agent(options);
  await agent.listen();
  return agent;
}

class Version1Agent implements FakeVersion1Agent {
  readonly id: string;
  readonly workDir = CWD;
  readonly calls: Version1Call[] = [];
  readonly commands: string[] = [];
  readonly files = new Version1Files(CWD);
  port = 0;
  fingerprint = '';
  readonly #processes = new Map<string, Process>();
  readonly #starts = new Map<string, number>();
  readonly #timers = new Timers();
  readonly #sockets = new Set<TLSSocket>();
  readonly #stopMs: number;
  readonly #keepsCrashed: boolean;
  #readyMs: number;
  #blocked: Promise<void> | undefined;
  readonly #losing = new Map<string, { when: 'before' | 'after'; times: number }>();
  #lastPid = 4_000;
  #tls: TlsServer | undefined;
  #grpc: Server | undefined;

  constructor(options: FakeVersion1Options) {
    this.id = options.id ?? randomUUID();
    this.#stopMs = options.stopMs ?? 30_000;
    this.#readyMs = options.readyMs ?? 50;
    this.#keepsCrashed = options.keepsCrashed ?? false;
  }

  get address(): AgentAddress {
    return {
      id: this.id,
      host: HOST,
      port: this.port,
      tls_mode: 'insecure',
      tls_fingerprint: null,
      token: null,
      work_dir: this.workDir,
    };
  }

  /** TLS 1.3 only, by a certificate of this start. */
  async listen(): Promise<void> {
    const { key, cert, fingerprint } = selfSigned();
    this.fingerprint = fingerprint;
    const grpc = new Server({
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    });
    grpc.addService(AgentServiceService, { ...this.#handlers() });
    const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());
    const tls = createServer({ key, cert, minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] }, socket => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => this.#sockets.delete(socket));
      injector.injectConnection(socket);
    });
    tls.on('tlsClientError', () => undefined);
    tls.listen(this.port, HOST);
    await once(tls, 'listening');
    const address = tls.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    this.port = address.port;
    this.#tls = tls;
    this.#grpc = grpc;
  }

  isUp(): boolean {
    return this.#tls !== undefined;
  }

  readers(serverId: string): number {
    return this.#processes.get(serverId)?.readers.length ?? 0;
  }

  starts(serverId: string): number {
    return this.#starts.get(serverId) ?? 0;
  }

  setReadyMs(ms: number): void {
    this.#readyMs = ms;
  }

  lose(method: LosableMethod, when: 'before' | 'after', times = 1): void {
    this.#losing.set(method, { when, times });
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  print(serverId: string, line: string, source: 'STDOUT' | 'STDERR' = 'STDOUT'): void {
    const process = this.#processes.get(serverId);
    if (!process?.alive) return;
    if (source === 'STDOUT') this.files.append(`${serverId}/logs/latest.log`, line);
    const entry: LogEntry = {
      timestamp: Math.floor(Date.now() / 1000),
      serverId,
      level: 'INFO',
      source: 'server',
      message: `[${source}] ${line}`,
      plugin: '',
      file: '',
      line: 0,
    };
    process.unread.push(entry);
    if (process.unread.length > LINES_KEPT) process.unread.shift();
    this.#deliver(process);
  }

  crash(serverId: string): void {
    const process = this.#processes.get(serverId);
    if (!process) return;
    process.alive = false;
    for (const reader of process.readers.splice(0)) reader.end();
  }

  die(): void {
    for (const serverId of this.#processes.keys()) this.crash(serverId);
    this.#processes.clear();
    this.#timers.clear();
    this.#blocked = undefined;
    this.#tls?.close();
    this.#tls = undefined;
    this.cut();
    this.#grpc?.forceShutdown();
  }

  async restart(): Promise<void> {
    if (this.isUp()) this.die();
    await this.listen();
  }

  async stop(): Promise<void> {
    const tls = this.#tls;
    const closed = tls ? once(tls, 'close') : undefined;
    this.die();
    await closed;
  }

  #handlers() {
    const refused = { success: false, message: 'backup failed: archive format not implemented' };
    return {
      ping: this.#unary('ping', () => ({ timestamp: Math.floor(Date.now() / 1000), message: 'pong' })),
      healthCheck: this.#unary('healthCheck', () => ({
        healthy: true,
        status: 'healthy',
        checks: { agent: 'ok' },
        timestamp: Math.floor(Date.now() / 1000),
      })),
      getAgentInfo: this.#unary('getAgentInfo', () => ({
        agentId: 'go-agent',
        version: '1.0.0',
        platform: 'linux',
        platformVersion: 'ubuntu 22.04',
        uptimeSeconds: 60,
        activeServers: this.#processes.size,
        maxServers: 10,
      })),
      getSystemMetrics: this.#unary('getSystemMetrics', () => ({
        timestamp: Math.floor(Date.now() / 1000),
        cpuPercent: 7.5,
        memoryTotal: 8e9,
        memoryUsed: 2e9,
        memoryPercent: 25,
        diskTotal: 50e9,
        diskUsed: 5e9,
        diskPercent: 10,
        networkSent: 10,
        networkRecv: 20,
        openPorts: [],
      })),
      checkDependencies: this.#unary('checkDependencies', () => ({
        javaInstalled: true,
        javaVersion: '21.0.3',
        javaPaths: ['/usr/bin/java'],
        screenInstalled: false,
        tmuxInstalled: false,
        environment: {},
      })),
      listServers: this.#unary('listServers', () => ({
        servers: [...this.#processes.values()].map(({ info }) => info),
      })),
      getServer: this.#unary('getServer', ({ serverId }) => this.#process(serverId).info),
      startServer: this.#startServer(),
      stopServer: this.#unary('stopServer', request => this.#stopServer(request)),
      restartServer: this.#unary('restartServer', async request => {
        // It stops, and does not find what it would have to start.
        await this.#stopServer(request);
        return answer(false, `server ${request.serverId} not found`);
      }),
      sendCommand: this.#unary('sendCommand', ({ serverId, command }) => {
        const process = this.#processes.get(serverId);
        if (!process) return { ...answer(false, `server ${serverId} not found`), output: '' };
        if (!process.alive) return { ...answer(false, 'write |1: broken pipe'), output: '' };
        this.commands.push(command);
        this.print(serverId, `[12:00:00 INFO]: [Server] ${command.replace(/^say /, '')}`);
        if (command === 'stop') {
          this.print(serverId, '[12:00:00 INFO]: Stopping the server');
          this.crash(serverId);
        }
        return { ...answer(true, 'Command sent'), output: '' };
      }),
      streamLogs: this.#streamLogs(),
      readFile: this.#unary('readFile', ({ path }) => this.files.read(path)),
      writeFile: this.#unary('writeFile', ({ path, content, createDirs }) =>
        this.files.write(path, content, createDirs),
      ),
      listFiles: this.#unary('listFiles', ({ path }) => ({ files: this.files.list(path) })),
      ...this.#pluginHandlers(),
      installJava: this.#unary('installJava', () => ({
        success: false,
        message: 'sudo: a password is required',
        logs: [],
      })),
      downloadServer: this.#downloadServer(),
      createBackup: this.#unary('createBackup', () => ({
        ...refused,
        backupPath: '',
        sizeBytes: 0,
        checksum: '',
        durationMs: 0,
      })),
      restoreBackup: this.#unary('restoreBackup', () => ({
        ...refused,
        durationMs: 0,
        safetyBackupPath: '',
      })),
    } satisfies Partial<AgentServiceServer>;
  }

  #pluginHandlers(): PluginHandlers {
    const plugins = new Version1Plugins(this.files, async serverId => {
      // Its restart, which ends stopped.
      if (this.#processes.has(serverId)) await this.#stopServer({ serverId });
    });
    return {
      installPlugin: this.#unary('installPlugin', request => plugins.install(request)),
      updatePlugin: this.#unary('updatePlugin', request => plugins.update(request)),
      uninstallPlugin: this.#unary('uninstallPlugin', request => plugins.uninstall(request)),
      listPlugins: this.#unary('listPlugins', request => plugins.list(request)),
    };
  }

  /** Exec is all that it waits for. */
  #startServer(): AgentServiceServer['startServer'] {
    return this.#unary('startServer', request => {
      const { serverId, config } = request;
      if (!config) {
        // A nil pointer in a handler that nobody recovers from.
        this.die();
        throw new Version1Fault('nil pointer dereference');
      }
      if (this.#processes.has(serverId)) return answer(false, `server ${serverId} is already running`);
      const process = this.#boot(request);
      return { success: true, message: 'Server started', server: process.info };
    });
  }

  #boot({ serverId, name, type, version, config }: StartServerRequest): Process {
    this.#lastPid += 1;
    this.#starts.set(serverId, this.starts(serverId) + 1);
    const info: ServerInfo = {
      id: serverId,
      name,
      type,
      version,
      javaVersion: '',
      port: 0,
      status: 'running',
      pid: this.#lastPid,
      startTime: Math.floor(Date.now() / 1000),
      workDir: `${CWD}/${serverId}`,
      config,
    };
    const process: Process = { info, alive: true, unread: [], readers: [], turn: 0 };
    this.#processes.set(serverId, process);
    this.files.remove(`${serverId}/logs/latest.log`);
    this.print(serverId, '[12:00:00 INFO]: Starting minecraft server version 1.21.11');
    this.#timers.after(this.#readyMs, () => {
      if (this.#processes.get(serverId) !== process) return;
      this.print(serverId, '[12:00:01 INFO]: Done (1.234s)! For help, type "help"');
    });
    return process;
  }

  /** Nobody else is answered until it is. */
  async #stopServer({ serverId }: ServerRequest): Promise<ServerResponse> {
    const process = this.#processes.get(serverId);
    if (!process) return answer(false, `server ${serverId} not found`);
    const wasAlive = process.alive;
    this.print(serverId, '[12:00:02 INFO]: Stopping the server');
    this.#blocked = new Promise(resolve => this.#timers.after(this.#stopMs, resolve));
    await this.#blocked;
    this.#blocked = undefined;
    this.crash(serverId);
    if (wasAlive || !this.#keepsCrashed) this.#processes.delete(serverId);
    return answer(wasAlive, wasAlive ? 'Server stopped' : 'os: process already finished');
  }

  #streamLogs(): handleServerStreamingCall<ServerRequest, LogEntry> {
    const open = (call: ServerWritableStream<ServerRequest, LogEntry>): void => {
      const process = this.#processes.get(call.request.serverId);
      if (!process?.alive) {
        call.emit('error', new Version1Fault(`server ${call.request.serverId} not found`, status.NOT_FOUND));
        return;
      }
      const reader = {
        write: (entry: LogEntry) => void call.write(entry),
        end: () => void call.emit('error', new Version1Fault('server not found', status.NOT_FOUND)),
      };
      process.readers.push(reader);
      const leave = () => {
        process.readers = process.readers.filter(each => each !== reader);
      };
      call.once('close', leave);
      call.once('cancelled', leave);
      this.#deliver(process);
    };
    return call => {
      this.#record('streamLogs');
      void Promise.resolve(this.#blocked).then(() => {
        if (!call.cancelled) open(call);
      });
    };
  }

  /** One channel: what one reader has taken no other gets. */
  #deliver(process: Process): void {
    while (process.readers.length > 0) {
      const entry = process.unread.shift();
      if (!entry) return;
      process.turn += 1;
      process.readers[process.turn % process.readers.length]?.write(entry);
    }
  }

  #downloadServer(): handleServerStreamingCall<DownloadRequest, DownloadProgress> {
    return call => {
      this.#record('downloadServer');
      const { serverType, destination } = call.request;
      const progress = {
        downloaded: 0,
        total: FAKE_JAR_BYTES,
        percent: 0,
        status: '',
        complete: false,
        error: '',
      };
      if (serverType !== 'paper' && serverType !== 'purpur') {
        call.write({ ...progress, error: `unsupported server type: ${serverType}` });
        call.end();
        return;
      }
      call.write({ ...progress, downloaded: FAKE_JAR_BYTES / 2, percent: 50, status: 'downloading' });
      this.files.put(destination, Buffer.alloc(FAKE_JAR_BYTES / 2));
      if (this.#loses('downloadServer', 'before')) return void call.emit('error', DROPPED);
      this.files.put(destination, Buffer.alloc(FAKE_JAR_BYTES));
      if (this.#loses('downloadServer', 'after')) return void call.emit('error', DROPPED);
      call.write({
        ...progress,
        downloaded: FAKE_JAR_BYTES,
        percent: 100,
        status: 'completed',
        complete: true,
      });
      call.end();
    };
  }

  #process(serverId: string): Process {
    const process = this.#processes.get(serverId);
    if (process) return process;
    throw new Version1Fault(`server ${serverId} not found`, status.NOT_FOUND);
  }

  #unary<Request, Response>(
    method: string,
    respond: (request: Request) => Response | Promise<Response>,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      this.#record(method);
      const work = async () => {
        await this.#blocked;
        if (this.#loses(method, 'before')) throw DROPPED;
        const response = await respond(call.request);
        if (this.#loses(method, 'after')) throw DROPPED;
        return response;
      };
      work().then(
        response => callback(null, response),
        (error: unknown) =>
          callback(error instanceof Version1Fault ? error : new Version1Fault(String(error))),
      );
    };
  }

  /** Whether this call is one of those that the connection breaks at. */
  #loses(method: string, when: 'before' | 'after'): boolean {
    const losing = this.#losing.get(method);
    if (losing?.when !== when || losing.times === 0) return false;
    losing.times -= 1;
    return true;
  }

  #record(method: string): void {
    this.calls.push({ method, whileBlocked: this.#blocked !== undefined });
    if (this.calls.length > CALLS_KEPT) this.calls.shift();
  }
}

function answer(success: boolean, message: string): ServerResponse {
  return { success, message, server: undefined };
}
