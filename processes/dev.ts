import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { ConfigError, loadConfig, type Config } from '#src/config.js';
import { createLogger } from '#src/observability/logger.js';
import { createShutdown, type Shutdown } from '#src/observability/shutdown.js';
import { ourPrograms } from './dev/programs.js';
import { shutdownMs, startDev, type Dev } from './dev/startDev.js';
import type { Say } from './dev/tools.js';
import { watchSources } from './dev/watch.js';

/** All of AYMC in one terminal: `npm start`, and with `--watch` `npm run dev`. */
const SOURCES = ['src', 'activities', 'workflows', 'processes', 'migrations', 'agent', 'proto'];
const REBUILD_TIMEOUT_MS = 120_000;
const LAUNCHER_CHECK_MS = 1000;

const say: Say = line => void process.stdout.write(`${line}\n`);

function readConfig(): Config | undefined {
  try {
    return loadConfig(process.env, { cwd: process.cwd() });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return undefined;
  }
}

/** Whoever launched us passes signals on; killed with −9 it can't, and we would hold ports and data for nobody. */
function endWithLauncher(shutdown: Shutdown): void {
  const launcher = Number(process.env['AYMC_LAUNCHER_PID']);
  if (process.ppid !== launcher) return;
  const timer = setInterval(() => {
    if (process.ppid !== launcher) void shutdown.run('SIGTERM');
  }, LAUNCHER_CHECK_MS);
  timer.unref();
}

/** Compiles in a process of its own, whose complaints the person who changed the code should see; then restarts. */
async function rebuild(dev: Dev, signal: AbortSignal): Promise<void> {
  const options = { stdio: 'inherit', signal, timeout: REBUILD_TIMEOUT_MS } as const;
  const builder = spawn(process.execPath, ['processes/bootstrap.mjs', 'build'], options);
  const compiled = await new Promise<boolean>(resolve => {
    builder.once('error', () => resolve(false));
    builder.once('exit', code => resolve(code === 0));
  });
  if (signal.aborted) return;
  if (compiled) dev.restartCode();
  else say('That does not compile; what runs goes on.');
}

async function main(config: Config, watch: boolean): Promise<void> {
  const parts = new Set<{ kill(): void }>();
  const shutdown = createShutdown({
    logger: createLogger({ level: 'warn', name: 'start', pretty: config.runtime.env === 'development' }),
    deadlineMs: shutdownMs(config),
    onForcedExit: () => parts.forEach(part => part.kill()),
  });
  shutdown.signal.addEventListener('abort', () => say('\nStopping …'), { once: true });
  endWithLauncher(shutdown);
  try {
    const dev = await startDev({ config, env: process.env, programs: ourPrograms(), shutdown, parts, say });
    const { signal } = shutdown;
    if (watch) {
      watchSources({ root: process.cwd(), folders: SOURCES, changed: () => rebuild(dev, signal), signal });
    }
  } catch (error) {
    if (shutdown.signal.aborted) return;
    say(`AYMC could not start: ${error instanceof Error ? error.message : String(error)}`);
    await shutdown.run('fault');
  }
}

const { values } = parseArgs({ options: { watch: { type: 'boolean', default: false } } });
const config = readConfig();
if (config) await main(config, values.watch);
else process.exitCode = 1;
