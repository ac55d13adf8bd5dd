import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { type Logger, pino, stdTimeFunctions } from 'pino';
import { type AgentConfig, ConfigError, loadConfig } from './config.js';
import { assertNever } from './errors.js';
import { emptyFolder, writeFileDurably } from './files.js';
import { lockWorkDir } from './instanceLock.js';
import { JavaCatalogue } from './java.js';
import { JavaInstaller } from './java/install.js';
import { Journal } from './journal.js';
import { Leases } from './lease/leases.js';
import { keepLeaseRenewed } from './lease/renewal.js';
import { requireToken } from './rpc/auth.js';
import { type RpcServer, serve } from './rpc/server.js';
import { ConsoleProbes } from './sampling/consoleProbes.js';
import { SampleRing } from './sampling/sampleRing.js';
import { Sampler } from './sampling/sampler.js';
import { findShell, findTool, GUARD_TOOLS } from './server/guard.js';
import { agentPaths } from './server/paths.js';
import { Registry } from './server/registry.js';
import { ServerFiles } from './serverFiles/serverFiles.js';
import { bootSeconds, CpuMeter } from './system.js';
import { UserFiles } from './userFiles.js';
import { AGENT_VERSION } from './version.js';
import { addressRule } from './work/address.js';
import { ArtifactCache } from './work/artifactCache.js';
import { BuildTools } from './work/buildTools.js';
import { deleteServer } from './work/delete.js';
import { killServer } from './work/kill.js';
import { Ledger } from './work/ledger.js';
import { provisionServer } from './work/provision.js';
import { type PerformStep, WorkRunner } from './work/runner.js';
import { discardSnapshot, revertToSnapshot, takeSnapshot } from './work/snapshot.js';
import { stageInstall } from './work/stage.js';
import { startServer } from './work/start.js';
import { stopServer } from './work/stop.js';

/** However slow a disk or a caller is, the process is gone by then; everything that matters is on disk all the time. */
const SHUTDOWN_MS = 4_500;

/** Exit codes: 0 after a signal, 78 for settings (EX_CONFIG), 75 when another agent has the work dir, 1 otherwise. */
async function main(): Promise<void> {
  const config = loadConfig();
  const log = pino({
    level: config.logLevel,
    // The same line as the control plane's, so that one query finds a request in both.
    base: { name: `agent ${config.agentId}` },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
    redact: ['token', 'authorization', '*.token', '*.authorization'],
  });
  const missing = GUARD_TOOLS.filter(tool => findTool(tool, config.path) === undefined);
  if (missing.length > 0) {
    throw new ConfigError([`PATH has no ${missing.join(', ')}; install util-linux and coreutils`]);
  }
  if (!config.token) log.warn('no AGENT_TOKEN: everyone on this machine may call this agent');

  const agent = await startAgent(config, log);
  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, 'letting go: servers play on under their guards');
    setTimeout(() => process.exit(0), SHUTDOWN_MS).unref();
    agent.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'shutdown broke');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

/** Everything that lives as long as the process, in the order in which each needs the one before it. */
async function startAgent(config: AgentConfig, log: Logger): Promise<{ close: () => Promise<void> }> {
  const paths = agentPaths(config.workDir);
  await mkdir(paths.hidden, { recursive: true, mode: 0o700 });
  const lock = await lockWorkDir(paths.lock);
  if (!lock) {
    log.fatal({ work_dir: config.workDir }, 'another agent process has this work dir');
    process.exit(75);
  }
  const { javaHome, path, home } = config;
  const java = new JavaCatalogue({ javaHome, path, home, managed: paths.java });
  const journal = await Journal.open(paths.journal);
  const ledger = await Ledger.open(paths.ledger);
  const registry = await Registry.open(paths, {
    journal,
    log,
    shell: findShell(config.path),
    childEnv: config.childEnv,
    fenceOf: serverId => ledger.fenceOf(serverId),
  });
  const { controlPlane } = config;
  const leases = new Leases(controlPlane !== undefined, log);

  const refusesAddress = addressRule(config.allowPrivateUrls);
  const cache = new ArtifactCache(paths.cache, refusesAddress);
  const installers = { cache, java, paths, childEnv: config.childEnv };
  const javaInstaller = new JavaInstaller({
    catalogue: java,
    cache,
    managed: paths.java,
    staging: paths.javaStaging,
    path,
  });
  const provisioning = { ...installers, buildTools: new BuildTools(installers), javaInstaller };
  const snapshots = { paths, path };
  const perform: PerformStep = (work, context) => {
    switch (work.$case) {
      case 'provision':
        return provisionServer(provisioning, context, work.provision);
      case 'start':
        return startServer({ java, registry, leases }, context, work.start);
      case 'stop':
        return stopServer(context, work.stop);
      case 'kill':
        return killServer(context);
      case 'stage':
        return stageInstall(provisioning, context, work.stage);
      case 'snapshot':
        return takeSnapshot(snapshots, context);
      case 'revert':
        return revertToSnapshot(snapshots, context);
      case 'discard':
        return discardSnapshot(snapshots, context);
      case 'delete':
        return deleteServer(paths, registry, context);
      default:
        return assertNever(work);
    }
  };
  const runner = new WorkRunner({
    ledger,
    registry,
    admit: (work, serverId) => leases.admit(work, registry.get(serverId)),
    perform,
    performOwn: ({ installJava }, context) => javaInstaller.install(installJava, context),
    log,
  });
  const incarnation = randomUUID();
  const renewal =
    controlPlane &&
    keepLeaseRenewed({ controlPlane, agentId: config.agentId, incarnation, registry, leases, log });
  // The tar of an agent that was killed may still be ending there.
  await emptyFolder(paths.javaStaging).catch((error: unknown) =>
    log.warn({ err: error }, 'half an unpacked Java could not be removed'),
  );
  await runner.resume();
  await emptyFolder(paths.uploads);

  const samples = new SampleRing(config.sampleIntervalMs);
  const probes = new ConsoleProbes();
  const sampler = new Sampler({ registry, probes, samples, log }, config);
  sampler.start();

  const rpc: RpcServer = await serve(
    {
      authorize: requireToken(config.token),
      log,
      agentId: config.agentId,
      incarnation,
      maxServers: config.maxServers,
      startedAtBootSeconds: bootSeconds(),
      path: config.path,
      paths,
      registry,
      runner,
      ledger,
      journal,
      samples,
      probes,
      leases,
      java,
      cpu: new CpuMeter(),
      files: new UserFiles(config.workDir),
      serverFiles: new ServerFiles(paths, log),
      refusesAddress,
    },
    config,
  );
  const address = `${config.host}:${rpc.port}`;
  await writeFileDurably(paths.address, JSON.stringify({ pid: process.pid, address, incarnation }));
  log.info(
    {
      address,
      version: AGENT_VERSION,
      tls: config.tls !== undefined,
      control_plane: controlPlane?.url,
      servers: registry.all().length,
      playing: registry.all().filter(server => server.alive).length,
    },
    'agent listening',
  );
  void emptyFolder(paths.trash).catch((error: unknown) =>
    log.warn({ err: error }, 'the trash could not be emptied'),
  );

  return {
    close: async () => {
      await rpc.close();
      sampler.close();
      await runner.detach();
      await renewal?.close();
      registry.detach();
      await Promise.all([ledger.close(), journal.close()]);
      await lock.close();
    },
  };
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigError ? error.message : String(error instanceof Error ? error.stack : error)}\n`,
  );
  process.exit(error instanceof ConfigError ? 78 : 1);
});
