import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './waitFor.js';

/** Where to look for a mark. */
export interface Trace {
  /** Of the agent. */
  workDir: string;
  serverId: string;
  operationId: string;
}

const MARK_TIMEOUT_MS = 60_000;

/**
 * What an agent has on its disk about an operation, for instants that it has no event of. Looked at without a pause
 * between the look and what follows from it: an agent does not wait for us.
 */
export const AGENT_MARKS = {
  /** The step is in the ledger: from here on it happens exactly once. */
  'step noted': ({ workDir, operationId }: Trace) => ledgerOf(workDir).includes(`"op":"${operationId}"`),
  /** The guard has started the JVM. */
  'JVM started': ({ operationId, ...trace }: Trace) => {
    const run = newestRun(trace);
    return read(join(run, 'run.json')).includes(`"run_id":"${operationId}/`) && read(join(run, 'pid')) !== '';
  },
  /** The run is to end, and the console is about to be told. */
  'stop noted': (trace: Trace) => {
    const record = read(join(newestRun(trace), 'run.json'));
    return record.includes('"stop_cause":"stop"') && record.includes('"ended_at_ms":0');
  },
  /** The guard has written the exit code down. */
  'JVM ended': (trace: Trace) => {
    const run = newestRun(trace);
    return read(join(run, 'run.json')).includes('"stop_cause":"stop"') && read(join(run, 'exit')) !== '';
  },
  /** The first bytes of the only download have come. */
  'partly downloaded': ({ workDir }: Trace) =>
    cached(workDir, '.part').some(path => statSync(path, { throwIfNoEntry: false })?.size),
  /** The only artefact is whole, and is what it should be. */
  verified: ({ workDir }: Trace) => cached(workDir, '.jar').length > 0,
  /** The jar is where the server is started from. */
  'in place': ({ workDir, serverId }: Trace) => namesIn(join(workDir, serverId)).includes('server.jar'),
  /** The installer works: nothing that it makes is finished. */
  'installer runs': ({ workDir, serverId }: Trace) => {
    const installs = join(workDir, '.aymc/installs', serverId);
    return namesIn(join(installs, 'files')).length > 0 && !namesIn(installs).includes('finished.json');
  },
} as const satisfies Record<string, (trace: Trace) => boolean>;
export type AgentMark = keyof typeof AGENT_MARKS;

export async function waitForMark(mark: AgentMark, trace: Trace): Promise<void> {
  await waitFor(() => AGENT_MARKS[mark](trace), {
    timeoutMs: MARK_TIMEOUT_MS,
    everyMs: 1,
    what: `the agent's mark "${mark}"`,
  });
}

/** Whether the agent has come to an end with the only step of this operation. */
export function hasEndedStep({ workDir, operationId }: Omit<Trace, 'serverId'>): boolean {
  return ledgerOf(workDir).includes(`"t":"done","op":"${operationId}"`);
}

const ledgerOf = (workDir: string): string => read(join(workDir, '.aymc/ledger.jsonl'));

/** Older ones have ended likewise. Some folder that is not there when there was none. */
function newestRun({ workDir, serverId }: Omit<Trace, 'operationId'>): string {
  const runs = join(workDir, '.aymc/servers', serverId, 'runs');
  return join(runs, namesIn(runs).sort().at(-1) ?? 'none');
}

function cached(workDir: string, end: string): string[] {
  const folder = join(workDir, '.aymc/cache');
  return namesIn(folder)
    .filter(name => name.endsWith(end))
    .map(name => join(folder, name));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
