import type { AgentEvent, HostSample, Sample, SamplePosition, ServerSample } from '#proto/gen/agent.js';

/** An hour of one every ten seconds. */
const SAMPLES_KEPT = 360;

export interface EmittedSample {
  host?: Partial<HostSample>;
  /** With `unresponsiveSeconds` a server that does not answer. */
  servers?: readonly (Partial<ServerSample> & Pick<ServerSample, 'serverId'>)[];
  /** How long ago it was taken; default: now. */
  ageMs?: number;
}

/** The samples of one incarnation: counted from 1, kept for an hour, gone with a restart. */
export class SampleLog {
  #kept: { sample: Sample; atMs: number }[] = [];
  #lastSeq = 0;

  constructor(private readonly identity: { readonly incarnation: string }) {}

  add({ host, servers = [], ageMs = 0 }: EmittedSample, runIdOf: (serverId: string) => string): void {
    this.#lastSeq += 1;
    const sample: Sample = {
      seq: this.#lastSeq,
      host: { ...idleHost(), ...host },
      servers: servers.map(server => ({
        runId: runIdOf(server.serverId),
        memoryUsedBytes: 1e9,
        uptimeSeconds: 60,
        ...server,
      })),
    };
    this.#kept.push({ sample, atMs: Date.now() - ageMs });
    if (this.#kept.length > SAMPLES_KEPT) this.#kept.shift();
  }

  begin(): void {
    this.#kept = [];
    this.#lastSeq = 0;
  }

  /** Where a reader goes on who has come so far. */
  seqAfter(position: SamplePosition | undefined): number {
    return position?.incarnation === this.identity.incarnation ? position.seq : 0;
  }

  /** At most `limit` of those after `seq`. */
  after(seq: number, limit: number): { seq: number; event: AgentEvent }[] {
    const first = this.#kept.findIndex(({ sample }) => sample.seq > seq);
    if (first === -1) return [];
    return this.#kept.slice(first, first + limit).map(({ sample, atMs }) => ({
      seq: sample.seq,
      event: { serverId: '', atMs, event: { $case: 'sample', sample } },
    }));
  }
}

function idleHost(): HostSample {
  return {
    cpuPercent: 12.5,
    memoryTotalBytes: 16e9,
    memoryUsedBytes: 4e9,
    diskTotalBytes: 100e9,
    diskUsedBytes: 10e9,
    networkSentBytes: 1,
    networkReceivedBytes: 2,
  };
}
