import type { Database } from '#src/db/connect.js';
import type { Logger } from '#src/observability/logger.js';
import type { Feed } from './feed.js';
import { LiveFeed } from './liveFeed.js';
import { agentMessage, type AgentStatusData } from './messages.js';
import type { Outlet, Subscription } from './outlet.js';
import { createPump, type Pump } from './pump.js';
import { readAgentStatuses } from './queries.js';

/** The `agents` channel: a newcomer gets every agent as it is, everyone gets what differs from what was sent last. */
export class AgentFeed implements Feed {
  readonly #name: string;
  readonly #db: Database;
  readonly #live: LiveFeed;
  readonly #pump: Pump;
  // One entry per agent, dropped with the feed.
  readonly #lastSent = new Map<string, string>();
  // At most one entry per agent, emptied by the pump; null = any of them may have changed.
  #changed: Set<string> | null = new Set();

  constructor(name: string, { db, logger }: { db: Database; logger: Logger }) {
    this.#name = name;
    this.#db = db;
    this.#live = new LiveFeed(name, () => this.#readAll());
    this.#pump = createPump(
      () => this.#publishChanges(),
      error => logger.warn({ err: error, channel: name }, 'agents cannot be read; trying again'),
    );
  }

  get idle(): boolean {
    return this.#live.idle;
  }

  subscribe(outlet: Outlet, after: string | null, limit: number): Promise<Subscription> {
    return this.#live.subscribe(outlet, after, limit);
  }

  /** This agent's row may have changed; without an id, any. */
  poke(agentId?: string): void {
    if (agentId === undefined) this.#changed = null;
    else this.#changed?.add(agentId);
    this.#pump.poke();
  }

  async close(): Promise<void> {
    await Promise.all([this.#live.close(), this.#pump.stop()]);
  }

  async #readAll() {
    const all = await readAgentStatuses(this.#db, null);
    // What the first one is given counts as sent. Others may have older news: those are told by the next poke.
    for (const data of all) if (!this.#lastSent.has(data.id)) this.#isNews(data);
    return all.map(data => agentMessage(this.#name, data));
  }

  async #publishChanges(): Promise<void> {
    const ids = this.#changed && [...this.#changed];
    this.#changed = new Set();
    try {
      const found = await readAgentStatuses(this.#db, ids);
      const news = found.filter(data => this.#isNews(data));
      this.#live.publish(news.map(data => agentMessage(this.#name, data)));
    } catch (error) {
      this.#changed = null;
      throw error;
    }
  }

  /** `last_seen` moves with every ping and is no news by itself. */
  #isNews(agent: AgentStatusData): boolean {
    const now = JSON.stringify({ ...agent, last_seen: null });
    if (this.#lastSent.get(agent.id) === now) return false;
    this.#lastSent.set(agent.id, now);
    return true;
  }
}
