import type { ServiceDefinition } from '@grpc/grpc-js';
import { AgentServiceService } from '#proto/gen/agent.js';

/** What one must be to call it, and whether it is recorded as a change. */
interface Policy {
  needs: 'account' | 'admin';
  changes: boolean;
  /** Agents of version 1 take harm from it, or their servers do: see `refuseHarm`. */
  harmsVersion1?: true;
}

/** Names nothing in its request, and answers what REST shows to everyone who has an account. */
const OPEN: Policy = { needs: 'account', changes: false };
const READS: Policy = { needs: 'admin', changes: false };
const CHANGES: Policy = { needs: 'admin', changes: true };
const POWER: Policy = { ...CHANGES, harmsVersion1: true };

/**
 * docs/decisions/0009: a request names its server or path inside bytes that nobody here reads, so whoever may send it may
 * send it for any server of the agent.
 */
const POLICIES: Record<keyof AgentServiceService, Policy> = {
  getAgentInfo: OPEN,
  getSystemMetrics: OPEN,
  ping: OPEN,
  healthCheck: OPEN,
  listServers: READS,
  getServer: READS,
  streamLogs: { ...READS, harmsVersion1: true },
  readFile: READS,
  listFiles: READS,
  checkDependencies: READS,
  listPlugins: READS,
  hello: READS,
  inspectServers: READS,
  watchWork: READS,
  streamEvents: READS,
  listFolder: READS,
  downloadFile: READS,
  startServer: POWER,
  stopServer: POWER,
  restartServer: POWER,
  sendCommand: CHANGES,
  writeFile: CHANGES,
  installJava: CHANGES,
  downloadServer: CHANGES,
  installPlugin: CHANGES,
  uninstallPlugin: CHANGES,
  updatePlugin: CHANGES,
  createBackup: CHANGES,
  restoreBackup: CHANGES,
  submitWork: CHANGES,
  cancelWork: CHANGES,
  uploadFile: CHANGES,
  deleteFile: CHANGES,
  makeFolder: CHANGES,
  renameFile: CHANGES,
};

export interface ProxiedMethod extends Policy {
  /** `/agent.AgentService/Ping` */
  path: string;
  /** `Ping` */
  name: string;
  /** Whether either side may send many messages. */
  streams: boolean;
}

const policies = new Map(Object.entries<Policy>(POLICIES));

/** By path. */
export const METHODS: ReadonlyMap<string, ProxiedMethod> = new Map(
  Object.entries(AgentServiceService).map(([key, { path, requestStream, responseStream }]) => [
    path,
    {
      ...(policies.get(key) ?? CHANGES),
      path,
      name: path.slice(path.lastIndexOf('/') + 1),
      streams: requestStream || responseStream,
    },
  ]),
);

const asIs = (bytes: Buffer): Buffer => bytes;

/** The agents' service with bytes for messages. What is not in it is answered UNIMPLEMENTED. */
export const BYTES_SERVICE: ServiceDefinition = Object.fromEntries(
  Object.entries(AgentServiceService).map(([key, { path, requestStream, responseStream }]) => [
    key,
    {
      path,
      requestStream,
      responseStream,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  ]),
);
