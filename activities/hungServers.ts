import { ProcessState } from '#proto/gen/agent.js';
import { confirmUnchanged, listServersOf } from '#src/db/reconciliation.js';
import { alertSilence, type Silence } from '#src/db/silences.js';
import type { AgentRow, ServerRow } from '#src/db/types.js';
import { acceptCorrection } from './acceptCorrection.js';
import { inspectAgent } from './inspectAgent.js';
import type { ReconcileDeps } from './reconcileDeps.js';

export interface HungDeps extends ReconcileDeps {
  /** How long a running server answers nothing before it counts as hung. */
  hungAfterMs: number;
}

interface Noticed {
  run_id: string;
  /** Names this silence, for alert and restart alike. */
  occasion: string;
  /** A restart was accepted, now or by whoever noticed it before. */
  restarted: boolean;
}

/** What is done about the servers of one agent that live and don't answer: an alert, and a restart if that is wanted. */
export class HungServers {
  readonly afterMs: number;
  /** Spares the database the same questions with every sample. Each leaves when it answers; one a server at most. */
  readonly #noticed = new Map<string, Noticed>();

  constructor(
    private readonly deps: HungDeps,
    private readonly agent: AgentRow,
  ) {
    this.afterMs = deps.hungAfterMs;
  }

  /** `measured`: the servers that were just sampled. Of these, `silences` are the ones that have been silent for long. */
  async notice(measured: readonly string[], silences: readonly Silence[]): Promise<void> {
    const silent = silences.filter(({ server_id }) => measured.includes(server_id));
    const present = new Set(silent.filter(each => each.isPresent).map(each => each.server_id));
    for (const id of measured) if (!present.has(id)) this.#noticed.delete(id);
    for (const silence of silent) await this.#alert(silence);
    const waiting = silent.filter(each => this.#noticed.get(each.server_id)?.restarted === false);
    if (waiting.length > 0) await this.#restart(waiting);
  }

  async #alert(silence: Silence): Promise<void> {
    const { server_id, run_id } = silence;
    if (this.#noticed.get(server_id)?.run_id === run_id) return;
    const alerted = await alertSilence(this.deps.db, this.agent.id, silence);
    if (!alerted) return;
    for (const user_id of alerted.told) this.deps.bus.publish('notifications', { user_id });
    if (alerted.told.length > 0) this.deps.logger.warn({ server: server_id, run: run_id }, 'a server hangs');
    const { occasion } = alerted;
    if (silence.isPresent) this.#noticed.set(server_id, { run_id, occasion, restarted: false });
  }

  /** As the reconciler does it: first the row, then the agent, and only if nothing was asked of the server meanwhile. */
  async #restart(silences: readonly Silence[]): Promise<void> {
    const ids = silences.map(({ server_id }) => server_id);
    const wanted = (await listServersOf(this.deps.db, this.agent.id, ids)).filter(
      server =>
        server.current_op_id === null &&
        server.restart_when_hung &&
        server.desired_state === 'running' &&
        server.status === 'running',
    );
    if (wanted.length === 0) return;
    const states = await inspectAgent(this.deps, this.agent);
    if (!states) return;
    const alive = states.servers.filter(({ state }) => state === ProcessState.RUNNING);
    const running = new Map(alive.map(({ serverId, runId }) => [serverId, runId]));
    for (const server of wanted) {
      const noticed = this.#noticed.get(server.id);
      if (noticed && noticed.run_id === running.get(server.id)) await this.#accept(server, noticed);
    }
  }

  async #accept(server: ServerRow, noticed: Noticed): Promise<void> {
    const acceptance = await acceptCorrection(this.deps, {
      kind: 'server.restart',
      serverId: server.id,
      reason: 'It lives and does not answer',
      idempotencyKey: `hung:${server.id}:${noticed.occasion}`,
      prepare: async transaction => {
        await confirmUnchanged(this.deps.db, transaction, server);
        return [];
      },
    });
    if (acceptance !== 'refused') noticed.restarted = true;
  }
}
