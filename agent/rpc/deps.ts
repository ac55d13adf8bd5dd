import type { JavaCatalogue } from '../java.js';
import type { Journal } from '../journal.js';
import type { Leases } from '../lease/leases.js';
import type { ConsoleProbes } from '../sampling/consoleProbes.js';
import type { SampleRing } from '../sampling/sampleRing.js';
import type { AgentPaths } from '../server/paths.js';
import type { Registry } from '../server/registry.js';
import type { ServerFiles } from '../serverFiles/serverFiles.js';
import type { CpuMeter } from '../system.js';
import type { UserFiles } from '../userFiles.js';
import type { RefusesAddress } from '../work/address.js';
import type { Ledger } from '../work/ledger.js';
import type { WorkRunner } from '../work/runner.js';
import type { HandlerDeps } from './handlers.js';

export interface RpcDeps extends HandlerDeps {
  readonly agentId: string;
  /** Of this process. */
  readonly incarnation: string;
  readonly maxServers: number;
  readonly startedAtBootSeconds: number;
  /** Where programs are looked for. */
  readonly path: string;
  readonly paths: AgentPaths;
  readonly registry: Registry;
  readonly runner: WorkRunner;
  readonly ledger: Ledger;
  readonly journal: Journal;
  readonly samples: SampleRing;
  readonly probes: ConsoleProbes;
  readonly leases: Leases;
  readonly java: JavaCatalogue;
  readonly cpu: CpuMeter;
  readonly files: UserFiles;
  readonly serverFiles: ServerFiles;
  /** For the URLs that callers name. */
  readonly refusesAddress: RefusesAddress;
}
