import type { EventBatch, HostSample, Sample, ServerSample } from '#proto/gen/agent.js';
import type { Bus } from '#src/bus/bus.js';
import type { Database } from '#src/db/connect.js';
import { storeSamples, type SamplePosition, type StoreSamplesResult } from '#src/db/sampleStorage.js';
import type { Silence } from '#src/db/silences.js';
import { AppError } from '#src/domain/errors.js';
import type { HungServers } from './hungServers.js';

/** An agent that was away for long brings an hour of them. */
const SAMPLES_AT_ONCE = 60;
const SERVERS_A_POKE = 200;
/** What runs and incarnations are called. */
const NAME = /^[\x21-\x7e]{1,100}$/;
/** An older sample says nothing about the present. */
const FRESH_MS = 60_000;

export interface SampleDeps {
  db: Database;
  bus: Bus;
  hung: HungServers;
}

/** A sample, when it was taken by our clock, and how long before its batch was sent. */
interface TakenSample {
  sample: Sample;
  ageMs: number;
}

/** Stores the samples of one agent, for as long as one stream of events lasts. First stored, then announced. */
export class SampleCollector {
  #position: SamplePosition | null;

  constructor(
    private readonly deps: SampleDeps,
    private readonly agentId: string,
    position: SamplePosition | null,
  ) {
    this.#position = position;
  }

  /**
   * Takes the samples of a batch that just came. Rejects with `stale-write` when another one stores them too, or with
   * what the database says; then the stream has to be opened anew.
   */
  async add(batch: EventBatch): Promise<void> {
    const { incarnation } = batch;
    if (!NAME.test(incarnation)) return;
    const news = this.#newsOf(batch);
    for (let first = 0; first < news.length; first += SAMPLES_AT_ONCE) {
      await this.#store(incarnation, news.slice(first, first + SAMPLES_AT_ONCE));
    }
  }

  /** Those that come after what is stored. An agent that repeats one, or goes back, is not listened to. */
  #newsOf({ incarnation, events, sentAtMs }: EventBatch): TakenSample[] {
    const news: TakenSample[] = [];
    let last = this.#position?.incarnation === incarnation ? this.#position.seq : 0;
    for (const { event, atMs } of events) {
      if (event?.$case !== 'sample' || event.sample.seq <= last) continue;
      last = event.sample.seq;
      news.push({ sample: event.sample, ageMs: sentAtMs - atMs });
    }
    return news;
  }

  async #store(incarnation: string, taken: readonly TakenSample[]): Promise<void> {
    const { db, bus, hung } = this.deps;
    const seq = taken.at(-1)?.sample.seq ?? 0;
    const result = await storeSamples(db, {
      agent_id: this.agentId,
      expected: this.#position,
      incarnation,
      samples: taken.map(({ sample, ageMs }) => ({
        seq: sample.seq,
        age_ms: ageMs,
        host: sample.host ? measuresOfHost(sample.host) : null,
        servers: sample.servers.map(measuresOfServer),
      })),
    });
    if (!isStoredUpTo(result, { incarnation, seq })) {
      throw new AppError('stale-write', { detail: 'Another link stores the samples of this agent' });
    }
    this.#position = { incarnation, seq };
    if (result.outcome !== 'stored') return;
    const { head, server_ids: measured } = result;
    for (let first = 0; first < measured.length; first += SERVERS_A_POKE) {
      bus.publish('samples', { server_ids: measured.slice(first, first + SERVERS_A_POKE), head });
    }
    await hung.notice(measured, silencesIn(taken, { newestMs: head / 1000, longMs: hung.afterMs }));
  }
}

/** Also when it was someone else who did it, or when the agent and all that is stored of it are gone. */
function isStoredUpTo(result: StoreSamplesResult, { incarnation, seq }: SamplePosition): boolean {
  if (result.outcome !== 'elsewhere') return true;
  return result.position?.incarnation === incarnation && result.position.seq >= seq;
}

/** The last report of each server that had been silent for long. `newestMs`: when the newest sample was taken, by our clock. */
function silencesIn(
  taken: readonly TakenSample[],
  { newestMs, longMs }: { newestMs: number; longMs: number },
): Silence[] {
  const newestAgeMs = taken.at(-1)?.ageMs ?? 0;
  const silences = new Map<string, Silence>();
  for (const { sample, ageMs } of taken) {
    for (const { serverId: server_id, runId: run_id, unresponsiveSeconds: seconds = 0 } of sample.servers) {
      const known = silences.get(server_id);
      if (known) known.isPresent = false;
      if (seconds * 1000 < longMs || !NAME.test(run_id)) continue;
      const since = new Date(newestMs - Math.max(0, ageMs - newestAgeMs) - seconds * 1000);
      silences.set(server_id, { server_id, run_id, seconds, since, isPresent: ageMs <= FRESH_MS });
    }
  }
  return [...silences.values()];
}

function measuresOfHost(host: HostSample) {
  return {
    cpu_percent: host.cpuPercent,
    memory_total: host.memoryTotalBytes,
    memory_used: host.memoryUsedBytes,
    disk_total: host.diskTotalBytes,
    disk_used: host.diskUsedBytes,
    network_sent: host.networkSentBytes,
    network_received: host.networkReceivedBytes,
  };
}

function measuresOfServer(server: ServerSample) {
  return {
    server_id: server.serverId,
    cpu_percent: server.cpuPercent,
    memory_used: server.memoryUsedBytes,
    players_online: server.playersOnline,
    tps: server.tps,
    uptime_seconds: server.uptimeSeconds,
    disk_used: server.diskUsedBytes,
  };
}
