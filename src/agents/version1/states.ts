import { ProcessState, type ServerInfo, type ServerState, type ServerStates } from '#proto/gen/agent.js';
import type { AgentAddress, CallOptions } from '../gateway.js';
import type { Consoles } from './consoles.js';
import { runIdOf, saysReady, saysStopping, workDirOf, type Looks } from './looks.js';

const LOOKS_AT_ONCE = 8;
/** Whoever has not told of being ready for so long, and lives, has done so where nobody can read it any more. */
const SURELY_READY_MS = 600_000;
const READY_KEPT_MAX = 10_000;

/** Servers of agents of version 1 as other agents tell of theirs. Their own word for all of them is "running". */
export class States {
  /** Runs that were seen ready, by agent and run. Oldest first. */
  readonly #ready = new Set<string>();

  constructor(
    private readonly looks: Looks,
    private readonly consoles: Consoles,
  ) {}

  /** All that the agent lists or has a folder of. Rejects with `agent-unsupported` without a `work_dir`. */
  async inspect(agent: AgentAddress, options: CallOptions): Promise<ServerStates> {
    workDirOf(agent);
    const listed = await this.looks.listed(agent, options);
    const known = new Set(listed.map(({ id }) => id));
    const down = (await this.looks.folders(agent, options)).filter(id => !known.has(id));
    const servers = [
      ...(await inGroups(listed, run => this.of(agent, run, options))),
      ...(await inGroups(down, id => this.ofStopped(agent, id, options))),
    ];
    return { servers, bootId: '', incarnation: '' };
  }

  async of(agent: AgentAddress, run: ServerInfo, options: CallOptions): Promise<ServerState> {
    const state = {
      ...stoppedServer(run.id),
      provisioned: true,
      runId: runIdOf(run),
      startedAtMs: startOf(run),
    };
    if (await this.consoles.isAlive(agent, run.id, options)) {
      const isReady = await this.isReady(agent, run, options);
      return { ...state, pid: run.pid, state: isReady ? ProcessState.RUNNING : ProcessState.STARTING };
    }
    const lines = (await this.looks.log(agent, run, options)) ?? [];
    if (lines.some(saysStopping)) return { ...state, state: ProcessState.STOPPED, exitCode: 0 };
    const evidence = lines.filter(line => line.trim() !== '').slice(-20);
    const detail = 'Its process is gone; agents of version 1 do not say how it ended';
    return {
      ...state,
      state: ProcessState.CRASHED,
      cause: { code: 'unseen', detail, evidence, reportPath: '' },
    };
  }

  async ofStopped(agent: AgentAddress, serverId: string, options: CallOptions): Promise<ServerState> {
    const provisioned = (await this.looks.jarBytes(agent, serverId, options)) > 0;
    return { ...stoppedServer(serverId), provisioned };
  }

  async isReady(agent: AgentAddress, run: ServerInfo, options: CallOptions): Promise<boolean> {
    if (this.#ready.has(keyOf(agent, run))) return true;
    const lines = await this.looks.log(agent, run, options);
    const isReady = lines ? lines.some(saysReady) : Date.now() - startOf(run) > SURELY_READY_MS;
    if (isReady) this.noteReady(agent, run);
    return isReady;
  }

  noteReady(agent: AgentAddress, run: ServerInfo): void {
    this.#ready.add(keyOf(agent, run));
    const [oldest] = this.#ready;
    if (this.#ready.size > READY_KEPT_MAX && oldest !== undefined) this.#ready.delete(oldest);
  }
}

function keyOf(agent: AgentAddress, run: ServerInfo): string {
  return `${agent.id}/${run.id}/${run.startTime}`;
}

/** In ms since 1970, by the agent's clock. */
function startOf({ startTime }: ServerInfo): number {
  return startTime * 1000;
}

export function stoppedServer(serverId: string): ServerState {
  return {
    serverId,
    state: ProcessState.STOPPED,
    runId: '',
    pid: 0,
    startTicks: 0,
    startedAtMs: 0,
    readyAtMs: 0,
    endedAtMs: 0,
    provisioned: false,
    epoch: 0,
    opSeq: 0,
    consoleOffset: 0,
    cause: undefined,
  };
}

async function inGroups<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += LOOKS_AT_ONCE) {
    results.push(...(await Promise.all(items.slice(at, at + LOOKS_AT_ONCE).map(work))));
  }
  return results;
}
