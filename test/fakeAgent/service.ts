import type {
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  StatusObject,
} from '@grpc/grpc-js';
import {
  ProcessState,
  type AgentServiceServer,
  type CommandRequest,
  type CommandResponse,
  type DownloadChunk,
  type DownloadFileRequest,
  type EventBatch,
  type HelloResponse,
  type StreamEventsRequest,
  type UploadedFile,
  type UploadPart,
  type WorkKey,
  type WorkStatus,
} from '#proto/gen/agent.js';
import type { EventLog } from './eventLog.js';
import { Fault, lostReply } from './fault.js';
import type { FakeFiles } from './files.js';
import type { Ledger } from './ledger.js';
import type { FakeMethod, Script } from './script.js';
import type { FakeServers } from './servers.js';

const CALLS_KEPT = 1_000;
const ANSWERS_KEPT = 10_000;
const COMMAND_BYTES_MAX = 4_095;

export interface RecordedCall {
  method: FakeMethod;
  /** gRPC metadata as it came in. */
  metadata: Record<string, string>;
}

export interface FakeServiceDeps {
  token: string | undefined;
  script: Script;
  servers: FakeServers;
  ledger: Ledger;
  log: EventLog;
  files: FakeFiles;
  /** Announced in Hello. */
  capabilities: readonly string[];
  identity: Pick<HelloResponse, 'agentId' | 'bootId' | 'incarnation'>;
}

type Implemented = Pick<AgentServiceServer, FakeMethod>;

/** The rpcs, as a thin edge over ledger, servers and log: token, script, records of who called. */
export class FakeService {
  /** The latest thousand. */
  readonly calls: RecordedCall[] = [];
  readonly openStreams = { watchWork: 0, streamEvents: 0, downloadFile: 0 };
  /** Answers to commands by `(op_id, step)`: the same pair again is answered, not repeated. */
  readonly #answered = new Map<string, CommandResponse>();

  constructor(private readonly deps: FakeServiceDeps) {}

  readonly handlers: Implemented = {
    hello: this.#unary('hello', () => this.#hello()),
    ping: this.#unary('ping', () => ({ timestamp: Date.now(), message: 'pong' })),
    healthCheck: this.#unary('healthCheck', () => ({
      healthy: true,
      status: 'healthy',
      checks: { disk: 'ok' },
      timestamp: Date.now(),
    })),
    getAgentInfo: this.#unary('getAgentInfo', () => ({
      agentId: this.deps.identity.agentId,
      version: '2.0.0-fake',
      platform: 'linux',
      platformVersion: 'fake',
      uptimeSeconds: Math.floor(process.uptime()),
      activeServers: this.#aliveServers(),
      maxServers: 1_000,
      arch: 'x64',
    })),
    getSystemMetrics: this.#unary('getSystemMetrics', () => ({
      timestamp: Date.now(),
      cpuPercent: 12.5,
      memoryTotal: 16e9,
      memoryUsed: 4e9,
      memoryPercent: 25,
      diskTotal: 100e9,
      diskUsed: 10e9,
      diskPercent: 10,
      networkSent: 1,
      networkRecv: 2,
      openPorts: [],
    })),
    inspectServers: this.#unary('inspectServers', () => ({
      servers: [...this.deps.servers.states.keys()].map(id => this.deps.servers.snapshot(id)),
      bootId: this.deps.identity.bootId,
      incarnation: this.deps.identity.incarnation,
    })),
    submitWork: this.#unary('submitWork', request => this.deps.ledger.submit(request)),
    cancelWork: this.#unary('cancelWork', key => this.deps.ledger.cancel(key)),
    sendCommand: this.#unary('sendCommand', (request, metadata) => this.#command(request, metadata)),
    watchWork: this.#watch(),
    streamEvents: this.#events(),
    listFolder: this.#unary('listFolder', folder => ({ entries: this.deps.files.list(folder) })),
    downloadFile: this.#download(),
    uploadFile: this.#upload(),
    deleteFile: this.#unary('deleteFile', file => {
      this.deps.files.remove(file);
      return {};
    }),
    makeFolder: this.#unary('makeFolder', file => this.deps.files.makeFolder(file)),
    renameFile: this.#unary('renameFile', request => this.deps.files.rename(request)),
    readFile: this.#unary('readFile', ({ path }) => this.deps.files.readWhole(path)),
    writeFile: this.#unary('writeFile', ({ path, content, createDirs }) =>
      this.deps.files.writeWhole(path, content, createDirs),
    ),
    listFiles: this.#unary('listFiles', ({ path }) => ({ files: this.deps.files.listWhole(path) })),
  };

  #hello(): HelloResponse {
    return {
      ...this.deps.identity,
      version: '2.0.0-fake',
      capabilities: [...this.deps.capabilities],
      javaRuntimes: [{ path: '/opt/java/bin/java', major: 21, version: '21.0.1' }],
      os: 'linux',
      cpuCores: 4,
      memoryTotalBytes: 16e9,
      diskTotalBytes: 100e9,
      maxServers: 1_000,
      arch: 'x64',
    };
  }

  #command({ serverId, command }: CommandRequest, metadata: Metadata): CommandResponse {
    const key = `${text(metadata, 'op-id')}/${text(metadata, 'step')}`;
    const answered = this.#answered.get(key);
    if (answered) return answered;
    if (/[\r\n\0]/.test(command) || Buffer.byteLength(command) > COMMAND_BYTES_MAX) {
      throw new Fault('invalid-request');
    }
    const { servers } = this.deps;
    if (servers.snapshot(serverId).state !== ProcessState.RUNNING) throw new Fault('server-not-running');
    servers.runCommand(serverId, command);
    const answer = { success: true, message: '', output: '' };
    if (key === '/') return answer;
    this.#answered.set(key, answer);
    const [oldest] = this.#answered.keys();
    if (this.#answered.size > ANSWERS_KEPT && oldest !== undefined) this.#answered.delete(oldest);
    return answer;
  }

  #watch(): Implemented['watchWork'] {
    return this.#stream<WorkKey, WorkStatus>('watchWork', (key, call) => {
      let isOver = false;
      const unwatch = this.deps.ledger.watch(key, status => {
        call.write(status);
        isOver = status.server !== undefined;
        if (isOver) call.end();
      });
      return isOver ? undefined : unwatch;
    });
  }

  #events(): Implemented['streamEvents'] {
    return this.#stream<StreamEventsRequest, EventBatch>('streamEvents', (request, call) => {
      const { log } = this.deps;
      let isPumping = false;
      const pump = () => {
        isPumping = false;
        for (;;) {
          const batch = log.next(cursor);
          if (batch === undefined) return;
          if (!call.write(batch)) break;
        }
        isPumping = true;
        call.once('drain', pump);
      };
      const cursor = log.subscribe(request, () => {
        if (isPumping) return;
        isPumping = true;
        setImmediate(pump);
      });
      call.write(log.batchOf([]));
      pump();
      return () => log.unsubscribe(cursor);
    });
  }

  #download(): Implemented['downloadFile'] {
    return this.#stream<DownloadFileRequest, DownloadChunk>('downloadFile', (request, call) => {
      const chunks = this.deps.files.download(request);
      const pump = () => {
        for (let chunk = chunks.shift(); chunk; chunk = chunks.shift()) {
          if (!call.write(chunk)) return void call.once('drain', pump);
        }
        call.end();
      };
      pump();
      return undefined;
    });
  }

  #upload(): handleClientStreamingCall<UploadPart, UploadedFile> {
    return (call, callback) => {
      this.#record('uploadFile', call.metadata);
      if (this.deps.script.takes('hang', 'uploadFile')) return;
      const receive = async (): Promise<UploadedFile> => {
        this.#admit('uploadFile', call.metadata);
        return this.deps.files.upload(call);
      };
      call.on('error', () => undefined);
      receive().then(
        response => callback(null, response),
        (error: unknown) => callback(statusOf(error)),
      );
    };
  }

  #unary<Request, Response>(
    method: FakeMethod,
    answer: (request: Request, metadata: Metadata) => Response,
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const { script } = this.deps;
      this.#record(method, call.metadata);
      if (script.takes('hang', method)) return;
      try {
        this.#admit(method, call.metadata);
        const response = answer(call.request, call.metadata);
        if (script.takes('lose-reply', method)) callback(lostReply());
        else callback(null, response);
      } catch (error) {
        callback(statusOf(error));
      }
    };
  }

  /** `open` begins to write and answers what to do when the caller goes away. */
  #stream<Request, Response>(
    method: keyof FakeService['openStreams'],
    open: (
      request: Request,
      call: Parameters<handleServerStreamingCall<Request, Response>>[0],
    ) => (() => void) | undefined,
  ): handleServerStreamingCall<Request, Response> {
    return call => {
      this.#record(method, call.metadata);
      if (this.deps.script.takes('hang', method)) return;
      try {
        this.#admit(method, call.metadata);
        const close = open(call.request, call);
        this.openStreams[method] += 1;
        call.once('close', () => {
          this.openStreams[method] -= 1;
          close?.();
        });
      } catch (error) {
        call.emit('error', statusOf(error));
      }
    };
  }

  #admit(method: FakeMethod, metadata: Metadata): void {
    const { token, script } = this.deps;
    if (token !== undefined && text(metadata, 'authorization') !== `Bearer ${token}`) {
      throw new Fault('unauthenticated', 'Unknown token');
    }
    const refusal = script.takes('refuse', method);
    if (refusal) throw new Fault(refusal.code);
  }

  #record(method: FakeMethod, metadata: Metadata): void {
    const plain = Object.entries(metadata.getMap()).map(([key, value]): [string, string] => [
      key,
      value.toString(),
    ]);
    this.calls.push({ method, metadata: Object.fromEntries(plain) });
    if (this.calls.length > CALLS_KEPT) this.calls.shift();
  }

  #aliveServers(): number {
    const { servers } = this.deps;
    return [...servers.states.keys()].filter(id => servers.isAlive(id)).length;
  }
}

function text(metadata: Metadata, key: string): string {
  return metadata.get(key)[0]?.toString() ?? '';
}

function statusOf(error: unknown): StatusObject {
  return (error instanceof Fault ? error : new Fault('agent-failed', String(error))).toStatus();
}
