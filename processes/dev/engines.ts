import type { Config } from '#src/config.js';
import type { Shutdown } from '#src/observability/shutdown.js';
import { startPostgres, type EmbeddedPostgres } from './postgresServer.js';
import { SupervisedPart } from './supervisedPart.js';
import { startTemporal, type EmbeddedTemporal } from './temporalServer.js';
import type { Say } from './tools.js';

/** Longer than their own escalations, which end each of them for certain. */
const STOP_MS = 7000;

/** What `npm start` shares with everything that it starts. */
export interface DevDeps {
  readonly config: Config;
  /** Takes down what is started, in reverse order, also when a start fails halfway. */
  readonly shutdown: Shutdown;
  /** Filled with what must be killed when there is no time for an ordered end. */
  readonly parts: Set<{ kill(): void }>;
  readonly say: Say;
}

/** The database and the workflow engine: ours, or those that the settings name. */
export interface Engines {
  readonly databaseUrl: string;
  readonly temporal: { readonly address: string; readonly ui: string | null; readonly namespace: string };
  /** null: down just now, or not ours. */
  pids(): { readonly postgres: number | null; readonly temporal: number | null };
}

/** Brings up both at the same time and keeps up what is ours, at the address it had at first. */
export async function startEngines(deps: DevDeps, changed: () => void): Promise<Engines> {
  const { database, temporal: given } = deps.config;
  const postgres = database.url === undefined ? embeddedPostgres(deps, changed) : undefined;
  const temporal = given.address === undefined ? embeddedTemporal(deps, changed) : undefined;
  const [startedPostgres, startedTemporal] = await Promise.all([postgres?.begin(), temporal?.begin()]);
  return {
    databaseUrl: startedPostgres?.url ?? database.url ?? '',
    temporal: {
      address: startedTemporal?.address ?? given.address ?? '',
      ui: startedTemporal?.uiUrl ?? null,
      namespace: given.namespace,
    },
    pids: () => ({ postgres: postgres?.current?.pid ?? null, temporal: temporal?.current?.pid ?? null }),
  };
}

function embeddedPostgres({ config, shutdown, parts, say }: DevDeps, changed: () => void) {
  const { runtime, dev } = config;
  const options = { dataDir: runtime.dataDir, cacheDir: dev.cacheDir, say };
  const part = new SupervisedPart<EmbeddedPostgres>({
    name: 'PostgreSQL',
    say,
    changed,
    start: (signal, before) => startPostgres({ ...options, signal, ...(before && { port: before.port }) }),
  });
  parts.add(part);
  shutdown.add('postgres', () => part.stop(), { timeoutMs: STOP_MS });
  return part;
}

function embeddedTemporal({ config, shutdown, parts, say }: DevDeps, changed: () => void) {
  const { runtime, dev, temporal } = config;
  const options = { dataDir: runtime.dataDir, cacheDir: dev.cacheDir, namespace: temporal.namespace, say };
  const part = new SupervisedPart<EmbeddedTemporal>({
    name: 'Temporal',
    say,
    changed,
    start: (signal, before) =>
      startTemporal({ ...options, signal, ...(before && { port: before.port, uiPort: before.uiPort }) }),
  });
  parts.add(part);
  shutdown.add('temporal', () => part.stop(), { timeoutMs: STOP_MS });
  return part;
}
