import { randomUUID } from 'node:crypto';
import {
  WorkState,
  type AgentEvent,
  type ConsoleChunk,
  type ProvisionWork,
  type ServerState,
  type StartWork,
  type StateChange,
  type StreamEventsRequest,
  type WorkKey,
  type WorkRequest,
  type WorkStatus,
} from '#proto/gen/agent.js';
import type { AgentAddress, AgentGateway, CallOptions } from '#src/agents/gateway.js';

/** An agent under test, with what the suite must be able to do to it from outside. */
export interface ContractAgent {
  readonly address: AgentAddress;
  /** Work after which a start of the server can succeed. */
  provision(serverId: string): ProvisionWork | Promise<ProvisionWork>;
  /** A start that is ready within a few seconds, or never. */
  start(serverId: string, boot: 'quick' | 'never'): StartWork;
  /** Ends the server's process from outside. */
  crash(server: ServerState): void | Promise<void>;
  /** The agent takes calls and answers none, until `thaw`. */
  freeze(): void;
  thaw(): void;
  /** Kills the agent process and starts it again, at the same address. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const TERMINAL = new Set([
  WorkState.SUCCEEDED,
  WorkState.FAILED,
  WorkState.CANCELLED,
  WorkState.OUTCOME_UNKNOWN,
]);
const CALL: CallOptions = { deadlineMs: 5_000 };
/** A JVM's boot on a busy machine. */
export const WORK_DEADLINE_MS = 60_000;

type Work = NonNullable<WorkRequest['work']>;

export function stopWork(runId = ''): Work {
  return { $case: 'stop', stop: { consoleSeconds: 5, termSeconds: 5, runId } };
}

export const KILL: Work = { $case: 'kill', kill: { beside: false } };
export const DELETE: Work = { $case: 'delete', delete: {} };

export function isTerminal(status: WorkStatus): boolean {
  return TERMINAL.has(status.state);
}

/** One server of one agent, spoken to as the control plane does: every piece of work is an operation of its own. */
export class AgentDriver {
  readonly serverId = randomUUID();
  #opSeq = 0;

  constructor(
    readonly agent: ContractAgent,
    readonly gateway: AgentGateway,
  ) {}

  get address(): AgentAddress {
    return this.agent.address;
  }

  request(work: Work, overrides: Partial<WorkRequest> = {}): WorkRequest {
    this.#opSeq += 1;
    return {
      key: { opId: randomUUID(), step: work.$case },
      serverId: this.serverId,
      epoch: 1,
      opSeq: this.#opSeq,
      undo: false,
      work,
      ...overrides,
    };
  }

  startRequest(boot: 'quick' | 'never' = 'quick', overrides: Partial<WorkRequest> = {}): WorkRequest {
    return this.request({ $case: 'start', start: this.agent.start(this.serverId, boot) }, overrides);
  }

  submit(request: WorkRequest): Promise<WorkStatus> {
    return this.gateway.submitWork(this.address, request, CALL);
  }

  watch(request: WorkRequest, options: CallOptions = {}): AsyncIterable<WorkStatus> {
    return this.gateway.watchWork(this.address, keyOf(request), {
      deadlineMs: WORK_DEADLINE_MS,
      ...options,
    });
  }

  /** Every status up to the end of the stream. */
  async follow(request: WorkRequest): Promise<WorkStatus[]> {
    const statuses: WorkStatus[] = [];
    for await (const status of this.watch(request)) statuses.push(status);
    return statuses;
  }

  async outcome(request: WorkRequest): Promise<WorkStatus> {
    const last = (await this.follow(request)).at(-1);
    if (last === undefined) throw new Error('the watch ended without a status');
    return last;
  }

  async run(request: WorkRequest): Promise<WorkStatus> {
    await this.submit(request);
    return this.outcome(request);
  }

  cancel(request: WorkRequest): Promise<WorkStatus> {
    return this.gateway.cancelWork(this.address, keyOf(request), CALL);
  }

  async provision(): Promise<WorkStatus> {
    const provision = await this.agent.provision(this.serverId);
    return this.run(this.request({ $case: 'provision', provision }));
  }

  /** Provisions and starts; the server as it then is. */
  async boot(): Promise<ServerState> {
    await this.provision();
    const status = await this.run(this.startRequest());
    if (status.state !== WorkState.SUCCEEDED || status.server === undefined) {
      throw new Error(`the server did not boot: ${status.errorCode} ${status.errorDetail}`);
    }
    return status.server;
  }

  async state(): Promise<ServerState | undefined> {
    const { servers } = await this.gateway.inspectServers(this.address, CALL);
    return servers.find(server => server.serverId === this.serverId);
  }

  send(command: string, key?: WorkKey): Promise<{ output: string | null }> {
    const line = { serverId: this.serverId, command, ...(key && { key }) };
    return this.gateway.sendCommand(this.address, line, CALL);
  }

  /** Leaves nothing running behind, whatever a test did. */
  async cleanUp(): Promise<void> {
    this.agent.thaw();
    await this.run(this.request(DELETE, { epoch: Number.MAX_SAFE_INTEGER }));
  }
}

export function keyOf({ key }: WorkRequest): WorkKey {
  if (key === undefined) throw new Error('the request has no key');
  return key;
}

/** What one server's part of an event stream said, in order. */
export interface Heard {
  journalId: string;
  changes: StateChange[];
  chunks: ConsoleChunk[];
}

/** Listens until `enough`, then hangs up. Events of other servers are passed over. */
export async function hear(
  { gateway, address, serverId }: AgentDriver,
  from: Partial<StreamEventsRequest>,
  enough: (heard: Heard) => boolean,
): Promise<Heard> {
  const heard: Heard = { journalId: '', changes: [], chunks: [] };
  const request = { afterSeq: 0, journalId: '', console: {}, samples: undefined, ...from };
  for await (const batch of gateway.streamEvents(address, request, { deadlineMs: WORK_DEADLINE_MS })) {
    heard.journalId = batch.journalId;
    for (const event of batch.events) take(heard, event, serverId);
    if (enough(heard)) break;
  }
  return heard;
}

function take(heard: Heard, { serverId, event }: AgentEvent, wanted: string): void {
  if (serverId !== wanted) return;
  if (event?.$case === 'state') heard.changes.push(event.state);
  if (event?.$case === 'console') heard.chunks.push(event.console);
}

/** Console lines, and the position after the last one. */
export function linesOf({ chunks }: Heard): string[] {
  return chunks.flatMap(chunk => chunk.lines);
}
