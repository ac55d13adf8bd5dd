import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What runs and where, for tools, tests and operators: `<data dir>/runtime.json`. */
export interface Runtime {
  readonly api: string;
  readonly temporal: { readonly address: string; readonly ui: string | null; readonly namespace: string };
  readonly postgres: { readonly url: string };
  readonly redis: string | null;
  readonly agents: readonly {
    readonly agent_id: string;
    readonly address: string;
    readonly pid: number | null;
    readonly data_dir: string;
  }[];
  /** null: down just now, or not ours. `api` and `worker` are one process here. */
  readonly pids: {
    readonly api: number | null;
    readonly worker: number | null;
    readonly temporal: number | null;
    readonly postgres: number | null;
  };
}

const pathIn = (dataDir: string): string => join(dataDir, 'runtime.json');

/** Readers see the old file or the new one. For the owner alone: it holds the database's login. */
export function writeRuntime(dataDir: string, runtime: Runtime): void {
  const path = pathIn(dataDir);
  writeFileSync(`${path}.new`, `${JSON.stringify(runtime, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function removeRuntime(dataDir: string): void {
  rmSync(pathIn(dataDir), { force: true });
}
