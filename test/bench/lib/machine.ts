import { cpus, loadavg, release, totalmem } from 'node:os';

/** What figures can only be compared on: `2 × AMD EPYC, 23.5 GB, Linux 6.1, Node v20.20.0`. */
export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? 'unknown processor';
  const memory = `${(totalmem() / 2 ** 30).toFixed(1)} GB`;
  return `${processors.length} × ${model}, ${memory}, Linux ${release()}, Node ${process.version}`;
}

/** Work of others: a load near or above the number of cores makes every latency below it worthless. */
export function describeLoad(): string {
  return loadavg()
    .map(load => load.toFixed(2))
    .join(' ');
}
