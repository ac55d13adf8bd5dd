import type { AgentServiceServer, HealthStatus, SystemMetrics } from '#proto/gen/agent.js';
import { platform, release } from 'node:os';
import { findTool, GUARD_TOOLS } from '../server/guard.js';
import {
  bootSeconds,
  diskUse,
  listeningPorts,
  memoryTotalBytes,
  memoryUsedBytes,
  networkBytes,
  osName,
} from '../system.js';
import { AGENT_VERSION } from '../version.js';
import type { RpcDeps } from './deps.js';
import { unary } from './handlers.js';
import { type Files, version1Files } from './v1Files.js';
import { type Plugins, version1Plugins } from './v1Plugins.js';
import { type Power, version1Power } from './v1Power.js';

type Version1 = Power &
  Files &
  Plugins &
  Pick<
    AgentServiceServer,
    | 'getAgentInfo'
    | 'getSystemMetrics'
    | 'checkDependencies'
    | 'installJava'
    | 'createBackup'
    | 'restoreBackup'
    | 'ping'
    | 'healthCheck'
  >;

/** Below this the next save of a world may fail. */
const DISK_FREE_MIN = 256 * 1024 * 1024;

/** The rpcs of version 1 on the machinery of version 2. Domain failures are OK with `success: false`, as they were. */
export function version1(deps: RpcDeps): Version1 {
  return {
    ...version1Power(deps),
    ...version1Files(deps),
    ...version1Plugins(deps),

    getAgentInfo: unary(deps, async () => ({
      agentId: deps.agentId,
      version: AGENT_VERSION,
      platform: platform(),
      platformVersion: `${await osName()}, kernel ${release()}`,
      uptimeSeconds: Math.floor(bootSeconds() - deps.startedAtBootSeconds),
      activeServers: deps.registry.all().filter(server => server.alive).length,
      maxServers: deps.maxServers,
    })),

    getSystemMetrics: unary(deps, () => systemMetrics(deps)),

    checkDependencies: unary(deps, async () => {
      const runtimes = await deps.java.find();
      const newest = runtimes.at(-1);
      return {
        javaInstalled: newest !== undefined,
        javaVersion: newest?.version ?? '',
        javaPaths: runtimes.map(runtime => runtime.path),
        screenInstalled: findTool('screen', deps.path) !== undefined,
        tmuxInstalled: findTool('tmux', deps.path) !== undefined,
        environment: Object.fromEntries(
          GUARD_TOOLS.map(tool => [tool, findTool(tool, deps.path) ?? 'missing']),
        ),
      };
    }),

    installJava: unary(deps, () => ({
      success: false,
      message:
        'agent-unsupported: a version alone names no download; the control plane installs Java by SubmitWork',
      logs: [],
    })),

    createBackup: unary(deps, () => ({
      success: false,
      message: 'agent-unsupported: this agent does not make backups',
      backupPath: '',
      sizeBytes: 0,
      checksum: '',
      durationMs: 0,
    })),

    restoreBackup: unary(deps, () => ({
      success: false,
      message: 'agent-unsupported: this agent does not restore backups',
      durationMs: 0,
      safetyBackupPath: '',
    })),

    ping: unary(deps, () => ({ timestamp: Date.now(), message: 'pong' })),

    healthCheck: unary(deps, () => healthCheck(deps)),
  };
}

async function systemMetrics({ cpu, paths }: RpcDeps): Promise<SystemMetrics> {
  const memoryTotal = memoryTotalBytes();
  const [memoryUsed, disk, network, openPorts] = await Promise.all([
    memoryUsedBytes(),
    diskUse(paths.workDir),
    networkBytes(),
    listeningPorts(),
  ]);
  return {
    timestamp: Date.now(),
    cpuPercent: cpu.percent(),
    memoryTotal,
    memoryUsed,
    memoryPercent: percent(memoryUsed, memoryTotal),
    diskTotal: disk.totalBytes,
    diskUsed: disk.usedBytes,
    diskPercent: percent(disk.usedBytes, disk.totalBytes),
    networkSent: network.sent,
    networkRecv: network.received,
    openPorts,
  };
}

async function healthCheck({ path, paths, java }: RpcDeps): Promise<HealthStatus> {
  const missing = GUARD_TOOLS.filter(tool => findTool(tool, path) === undefined);
  const { freeBytes } = await diskUse(paths.workDir);
  const runtimes = await java.find();
  const checks = {
    guard: missing.length === 0 ? 'ok' : `missing: ${missing.join(', ')}`,
    disk: freeBytes >= DISK_FREE_MIN ? 'ok' : `only ${Math.floor(freeBytes / 2 ** 20)} MiB free`,
    java: runtimes.length > 0 ? 'ok' : 'no Java found',
  };
  const healthy = Object.values(checks).every(check => check === 'ok');
  return { healthy, status: healthy ? 'healthy' : 'unhealthy', checks, timestamp: Date.now() };
}

function percent(part: number, whole: number): number {
  return whole > 0 ? Math.round((1000 * part) / whole) / 10 : 0;
}
