import { loadConfig } from '#src/config.js';
import { createLogger } from '#src/observability/logger.js';
import { createShutdown } from '#src/observability/shutdown.js';
import { ourPrograms, type Program } from '../../processes/dev/programs.js';
import { shutdownMs, startDev } from '../../processes/dev/startDev.js';

/**
 * `npm start` with stand-ins for app and agent, for tests of how parts are started, watched, restarted and ended. Run
 * as a process of its own, since those tests kill it. The stand-ins serve what readiness asks for and note in the
 * data dir with which environment they were started and by which signal they ended.
 */
const inline = (code: string): Program => ({ command: process.execPath, args: ['-e', code] });

const NOTE = `
  const fs = require('node:fs');
  const note = line => fs.appendFileSync(process.env.NOTES, line + '\\n');
  const end = name => process.on(name, () => { note(who + ' ' + name); if (!process.env.STUBBORN) process.exit(0); });
`;

const app = inline(`${NOTE}
  const who = 'app';
  fs.writeFileSync(process.env.NOTES + '.app.json', JSON.stringify(process.env));
  ['SIGTERM', 'SIGHUP'].forEach(end);
  // What the worker's greeting of the agents comes to.
  const client = new (require('pg').Client)(process.env.DATABASE_URL);
  client.connect().then(() => client.query("UPDATE agents SET status = 'online'")).finally(() => client.end());
  require('node:http').createServer((_, answer) => answer.end('{}')).listen(process.env.PORT, process.env.HOST);
`);

const agent = inline(`${NOTE}
  const who = process.env.AGENT_ID;
  fs.writeFileSync(process.env.NOTES + '.' + who + '.json', JSON.stringify(process.env));
  ['SIGTERM', 'SIGHUP'].forEach(end);
  require('node:net').createServer(socket => socket.destroy()).listen(process.env.AGENT_PORT, process.env.AGENT_HOST);
`);

const config = loadConfig(process.env);
const parts = new Set<{ kill(): void }>();
const shutdown = createShutdown({
  logger: createLogger({ level: 'warn', name: 'start' }),
  deadlineMs: shutdownMs(config),
  onForcedExit: () => parts.forEach(part => part.kill()),
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const programs = { ...ourPrograms(), app, agent };
try {
  await startDev({ config, env: process.env, programs, shutdown, parts, say });
} catch (error) {
  if (!shutdown.signal.aborted)
    say(`could not start: ${error instanceof Error ? error.message : String(error)}`);
  await shutdown.run('fault');
}
