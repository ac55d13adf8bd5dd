import { EventEmitter } from 'node:events';
import { type HostSample, Sample, type ServerSample } from '#proto/gen/agent.js';

export interface KeptSample {
  readonly atMs: number;
  readonly sample: Sample;
}

/** As the wire has it: a fifth of what the objects weigh, and an hour of them is long. */
interface Packed {
  readonly atMs: number;
  readonly servers: number;
  readonly bytes: Uint8Array;
}

const KEPT_MS = 60 * 60_000;
/** Two bounds on memory for those who sample more often than the default, or very many servers: some 10 MB. */
const SAMPLES_MAX = 3_600;
const SERVER_SAMPLES_MAX = 50_000;

/** The samples of the last hour, numbered from 1 without holes. A reader who comes too late misses the oldest. */
export class SampleRing {
  readonly #appended = new EventEmitter().setMaxListeners(0);
  readonly #kept: Packed[] = [];
  readonly #capacity: number;
  #serverSamples = 0;
  #lastSeq = 0;

  constructor(intervalMs: number) {
    this.#capacity = Math.min(SAMPLES_MAX, Math.ceil(KEPT_MS / intervalMs));
  }

  /** 0 before the first one. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  append(host: HostSample, servers: ServerSample[], atMs = Date.now()): void {
    this.#lastSeq += 1;
    const bytes = Sample.encode({ seq: this.#lastSeq, host, servers }).finish();
    this.#kept.push({ atMs, servers: servers.length, bytes });
    this.#serverSamples += servers.length;
    while (this.#kept.length > this.#capacity || this.#serverSamples > SERVER_SAMPLES_MAX) {
      const oldest = this.#kept.shift();
      if (oldest === undefined) break;
      this.#serverSamples -= oldest.servers;
    }
    this.#appended.emit('sample');
  }

  /** The kept samples after `seq`, oldest first: at least one where there is one, of at most `serverSamples` servers. */
  after(seq: number, serverSamples: number): KeptSample[] {
    const from = Math.max(0, seq - this.#lastSeq + this.#kept.length);
    const samples: KeptSample[] = [];
    let left = serverSamples;
    for (const { atMs, servers, bytes } of this.#kept.slice(from, from + serverSamples)) {
      left -= servers;
      if (left < 0 && samples.length > 0) break;
      samples.push({ atMs, sample: Sample.decode(bytes) });
    }
    return samples;
  }

  onAppend(listener: () => void): () => void {
    this.#appended.on('sample', listener);
    return () => this.#appended.off('sample', listener);
  }
}
