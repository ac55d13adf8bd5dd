import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { sendRequest, textOf } from '../harness/clusterUser.js';
import { readCodeBlocks } from '../harness/docs.js';
import { findGrpcurl } from '../harness/grpcurl.js';
import { serveJar } from '../harness/jarServer.js';
import { buildMinecraftJar } from '../harness/minecraftJar.js';
import { freePort } from '#processes/dev/ports.js';
import { waitFor } from '../harness/waitFor.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const run = promisify(execFile);

/** The code blocks of the README's tour, in their order. */
async function readTour(): Promise<{ shell: string[]; client: string }> {
  const blocks = await readCodeBlocks('README.md', '## Five minutes');
  const of = (wanted: string) => blocks.filter(({ language }) => language === wanted).map(({ code }) => code);
  return { shell: of('bash'), client: of('js').join('\n') };
}

describe('the README', function () {
  this.timeout(240_000);
  let folder: string;
  let start: ChildProcess;
  let output = '';
  let jar: Awaited<ReturnType<typeof serveJar>>;
  let env: NodeJS.ProcessEnv;
  let url: string;

  before(async () => {
    const built = await buildMinecraftJar();
    jar = await serveJar(built.path);
    folder = await mkdtemp(join(tmpdir(), 'aymc-tour-'));
    env = {
      ...process.env,
      AYMC_DATA_DIR: folder,
      PORT: String(await freePort()),
      GRPC_PROXY_PORT: String(await freePort()),
      JAR_URL: jar.url,
      JAR_SHA256: built.sha256,
    };
    // Found by the tour as a stranger's machine has it: without a database or Temporal of the test run.
    for (const name of ['DATABASE_URL', 'TEMPORAL_ADDRESS']) delete env[name];
    start = spawn(process.execPath, ['processes/bootstrap.mjs', 'start'], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    start.stdout?.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    const ready = await waitFor(() => /^AYMC ready (http:\/\/127\.0\.0\.1:\d+)$/m.exec(output), {
      timeoutMs: 120_000,
      what: 'the last line of the banner',
    });
    url = ready[1] ?? '';
  });

  after(async () => {
    if (start.exitCode === null) {
      start.kill('SIGTERM');
      await waitFor(() => start.exitCode !== null, { timeoutMs: 60_000, what: 'npm start to end' });
    }
    await jar.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('tells a tour that works as it stands', async () => {
    const { shell, client } = await readTour();
    const client$ = join(root, '.cache', 'watch.mjs');
    await writeFile(client$, client);

    const watching: { child: ChildProcess; seen: string } = { child: start, seen: '' };
    const [definitions = '', create = '', ...rest] = shell.map(block =>
      block.replaceAll('http://127.0.0.1:8080', url),
    );
    const created = await run('bash', ['-euc', `${definitions}\n${create}\necho "$TOKEN $SERVER"`], {
      cwd: root,
      env,
    });
    const [token = '', server = ''] = created.stdout.trim().split(' ');
    watching.child = spawn(process.execPath, [client$, token, server, url], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    watching.child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (watching.seen += chunk));
    try {
      const variables = `TOKEN=${token} SERVER=${server}`;
      const helpers = create.split('\n').filter(line => line.startsWith('call()'));
      const type = async (...blocks: string[]) => {
        const script = [definitions, variables, ...helpers, ...blocks].join('\n');
        return (await run('bash', ['-euc', script], { cwd: root, env, timeout: 150_000 })).stdout;
      };
      const untilSeen = (what: string) =>
        waitFor(() => watching.seen.includes(what), {
          timeoutMs: 60_000,
          what: `"${what}" in the socket client`,
        });
      let stdout = await type(...rest.slice(0, -1));
      // "When you have seen enough": a client that is still waiting to reconnect would find its server gone.
      await untilSeen('server.stop succeeded');
      stdout += await type(...rest.slice(-1));
      expect(stdout).to.match(/^succeeded$/m);
      expect(stdout).to.match(/^running$/m);
      expect(stdout).to.match(/^server\.stop$/m);
      expect(stdout).to.match(/^server\.delete$/m);
      await untilSeen('server.delete succeeded');
      expect(watching.seen).to.include('hello');
      expect(watching.seen).to.match(/server_status running/);
      expect(watching.seen).to.include('server.start succeeded');
    } finally {
      watching.child.kill();
      await rm(client$, { force: true });
    }
  });

  it('and docs/operating.md the line of a gRPC client, in plaintext through the proxy', async function () {
    let program: string;
    try {
      program = await findGrpcurl();
    } catch (error) {
      process.stderr.write(`skipped: grpcurl needs Go and a module proxy (${String(error)})\n`);
      this.skip();
    }
    const [line] = await readCodeBlocks('docs/operating.md', '## The gRPC proxy');
    const account = { username: 'demo', password: 'demo123' };
    const { body } = await sendRequest(url, 'POST', '/auth/login', account);
    const authorization = { authorization: `Bearer ${textOf(body, 'access_token')}` };
    const wish = { name: 'grpcurl', scopes: ['read'] };
    const made = await sendRequest(url, 'POST', '/auth/api-keys', wish, authorization);
    const script = [
      `grpcurl() { '${program}' "$@"; }`,
      line?.code.replace('127.0.0.1:50050', `127.0.0.1:${env['GRPC_PROXY_PORT']}`),
    ].join('\n');
    const { stdout } = await run('bash', ['-euc', script], {
      cwd: root,
      env: { ...env, AYMC_API_KEY: textOf(made.body, 'key') },
      timeout: 20_000,
    });
    expect(JSON.parse(stdout)).to.include.keys('memoryTotal', 'cpuPercent');
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).to.include('grpc_proxy_calls_total{method="GetSystemMetrics",status="OK"} 1');
  });
});
