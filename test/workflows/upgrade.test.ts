import { createHash } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { OperationView } from '#src/contracts/operation.js';
import { listOperationEvents } from '#src/db/operationQueries.js';
import { row } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import type { OperationKind } from '#src/domain/operation.js';
import { buildServer } from '../build.js';
import { tinyJar } from '../harness/fakeJava.js';
import { serveJar, type JarServer } from '../harness/jarServer.js';
import { copiesOf, makeShellAgent, type ShellAgent } from '../harness/shellAgent.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';

/** What its jar says is how it boots; a broken one changes the world before it ends. */
const SERVER = `
say 'Starting minecraft server'
case $(cat server.jar) in
*broken*) echo new > world/level.dat; rm -f world/link; echo more > world/region; exit 1 ;;
*slow*) echo new > world/level.dat; sleep 600 ;;
esac
say 'Done (0.1s)! For help, type "help"'
while read -r line; do
  [ "$line" = stop ] && exit 0
done
`;

describe('an upgrade', function () {
  this.timeout(60_000);
  let stack: TestStack;
  let agent: ShellAgent;
  let agentId: string;
  let jars: Record<'newer' | 'other' | 'broken' | 'slow', JarServer & { sha256: string }>;
  let folder: string;
  let server: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'aymc-upgrade-'));
    await writeFile(join(folder, 'server.sh'), SERVER);
    [stack, agent] = await Promise.all([startTestStack(), makeShellAgent()]);
    agentId = await stack.register(agent);
    jars = {
      newer: await serve('newer'),
      other: await serve('other'),
      broken: await serve('broken'),
      slow: await serve('slow'),
    };
  });
  after(async () => {
    await stack.stop();
    await agent.stop();
    for (const jar of Object.values(jars)) await jar.close();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    server = (
      await buildServer(stack.db, {
        agent_id: agentId,
        installed: false,
        java_version: 21,
        java_args: `-Dscript=${join(folder, 'server.sh')}`,
        jar_url: agent.artifact.url,
        jar_sha256: agent.artifact.sha256,
      })
    ).id;
    await carry('server.provision');
    await mkdir(at('world'));
    await writeFile(at('world', 'level.dat'), 'old');
    await writeFile(at('world', 'region'), 'x'.repeat(5_000));
    await chmod(at('world', 'region'), 0o600);
    await symlink('region', at('world', 'link'));
  });
  afterEach(async () => {
    for (const jar of Object.values(jars)) jar.misbehave(undefined);
    await carry('server.delete');
  });

  async function serve(content: string): Promise<JarServer & { sha256: string }> {
    const jar = tinyJar(content);
    const file = join(folder, `${content}.jar`);
    await writeFile(file, jar);
    const served = await serveJar(file, { slowBytesPerSecond: 100 });
    return { ...served, sha256: createHash('sha256').update(jar).digest('hex') };
  }

  const at = (...names: string[]) => join(agent.process.workDir, server, ...names);
  const ask = async (kind: OperationKind, params: Record<string, unknown> = {}) => {
    const asked = { kind, serverId: server, requestedBy: null, trigger: 'user', params } as const;
    return (await stack.operations.request(asked)).operation;
  };
  async function carry(kind: OperationKind): Promise<void> {
    expect(await stack.ended((await ask(kind)).id)).to.include({ state: 'succeeded', error: null });
  }
  const upgrade = (to: keyof typeof jars): Promise<OperationView> =>
    ask('server.upgrade', {
      server_type: 'paper',
      version: '1.21.11',
      jar_url: jars[to].url,
      jar_sha256: jars[to].sha256,
    });
  const serverRow = async () => {
    const found = await row<ServerRow>(stack.db, 'SELECT * FROM servers WHERE id = $1', { bind: [server] });
    if (!found) throw new Error('the server is gone');
    return found;
  };
  const jarHash = async () =>
    createHash('sha256')
      .update(await readFile(at('server.jar')))
      .digest('hex');
  const statuses = async (id: string) =>
    (await listOperationEvents(stack.db, id, 0, 100)).flatMap(({ data }) => data.status ?? []);
  const untilEvent = (id: string, text: string) =>
    waitFor(async () => JSON.stringify(await listOperationEvents(stack.db, id, 0, 100)).includes(text), {
      what: text,
    });
  const hidden = (name: string) => readdir(join(agent.process.workDir, '.aymc', name)).catch(() => []);

  /** Every path with its mode and content. */
  async function tree(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const name of (await readdir(at(), { recursive: true })).sort()) {
      const facts = await lstat(at(name));
      const content = facts.isSymbolicLink()
        ? await readlink(at(name))
        : facts.isFile()
          ? createHash('sha256')
              .update(await readFile(at(name)))
              .digest('hex')
          : '';
      found[name] = `${facts.mode.toString(8)} ${facts.mtimeMs} ${content}`;
    }
    return found;
  }

  const OLD = { server_type: 'vanilla', version: '1.21.4' };
  async function expectOld(): Promise<void> {
    const { server_type, version, jar_url } = await serverRow();
    expect({ server_type, version, jar_url }).to.deep.equal({ ...OLD, jar_url: agent.artifact.url });
    expect(await jarHash()).to.equal(agent.artifact.sha256);
    expect(await readFile(at('world', 'level.dat'), 'utf8')).to.equal('old');
    expect(await hidden('snapshots')).to.deep.equal([]);
    expect(await hidden('installs')).to.deep.equal([]);
  }

  it('of a running server takes its place once the new one is ready', async () => {
    await carry('server.start');
    const operation = await stack.ended((await upgrade('newer')).id);
    expect(operation).to.include({ state: 'succeeded', error: null });
    expect(await statuses(operation.id)).to.deep.equal(['stopping', 'stopped', 'starting', 'running']);
    expect(await serverRow()).to.include({
      server_type: 'paper',
      version: '1.21.11',
      jar_url: jars.newer.url,
      jar_sha256: jars.newer.sha256,
      status: 'running',
      current_op_id: null,
    });
    expect(await jarHash()).to.equal(jars.newer.sha256);
    expect(await copiesOf(agent.process, server)).to.have.length(1);
    expect(await hidden('snapshots')).to.deep.equal([]);
  });

  it('of a stopped server starts it for the proof and leaves it stopped', async () => {
    const operation = await stack.ended((await upgrade('newer')).id);
    expect(operation).to.include({ state: 'succeeded', error: null });
    expect(await statuses(operation.id)).to.deep.equal(['starting', 'running', 'stopping', 'stopped']);
    expect(await serverRow()).to.include({ version: '1.21.11', status: 'stopped', desired_state: 'stopped' });
    expect(await copiesOf(agent.process, server)).to.deep.equal([]);
  });

  it('that does not become ready is taken back, world and all, and the old one runs again', async () => {
    await carry('server.start');
    const operation = await stack.ended((await upgrade('broken')).id);
    expect(operation).to.include({ state: 'compensated' });
    expect(operation.error?.code).to.equal('start-failed');
    await expectOld();
    expect(await serverRow()).to.include({ status: 'running', current_op_id: null });
    expect(await copiesOf(agent.process, server)).to.have.length(1);
  });

  it('that is taken back leaves a stopped server’s folder exactly as it was', async () => {
    const before = await tree();
    const operation = await stack.ended((await upgrade('broken')).id);
    expect(operation).to.include({ state: 'compensated' });
    expect(await tree()).to.deep.equal(before);
    await expectOld();
    expect(await serverRow()).to.include({ status: 'stopped' });
    await carry('server.start');
  });

  it('whose download fails has never touched the server', async () => {
    await carry('server.start');
    const before = await copiesOf(agent.process, server);
    jars.other.misbehave('flipped-byte');
    const operation = await stack.ended((await upgrade('other')).id);
    expect(operation).to.include({ state: 'failed' });
    expect(operation.error?.code).to.equal('checksum-mismatch');
    expect(await copiesOf(agent.process, server)).to.deep.equal(before);
    expect(await statuses(operation.id)).to.deep.equal([]);
    await expectOld();
  });

  it('that its user cancels is taken back', async () => {
    await carry('server.start');
    const { id } = await upgrade('slow');
    await untilEvent(id, 'booting');
    await stack.operations.cancel(id, { userId: null });
    expect(await stack.ended(id)).to.include({ state: 'cancelled' });
    await expectOld();
    expect(await serverRow()).to.include({ status: 'running' });
    expect(await copiesOf(agent.process, server)).to.have.length(1);
  });

  it('whose server is killed is taken back, and the server stays down', async () => {
    await carry('server.start');
    const { id } = await upgrade('slow');
    await untilEvent(id, 'booting');
    await carry('server.kill');
    expect(await stack.ended(id)).to.include({ state: 'compensated' });
    await expectOld();
    expect(await serverRow()).to.include({ status: 'stopped', desired_state: 'stopped' });
    expect(await copiesOf(agent.process, server)).to.deep.equal([]);
  });

  it('goes on when agent and worker are replaced while it downloads', async () => {
    await carry('server.start');
    jars.other.misbehave('slow', 1);
    const { id } = await upgrade('other');
    await waitFor(() => jars.other.bytesServed() > 0, { what: 'the download' });
    await agent.restart();
    await stack.restartWorker();
    expect(await stack.ended(id, 45_000)).to.include({ state: 'succeeded', error: null });
    expect(await jarHash()).to.equal(jars.other.sha256);
  });

  it('is taken back although agent and worker are replaced while it starts', async () => {
    await carry('server.start');
    const { id } = await upgrade('slow');
    await untilEvent(id, 'booting');
    await agent.restart();
    await stack.restartWorker();
    await stack.operations.cancel(id, { userId: null });
    expect(await stack.ended(id, 45_000)).to.include({ state: 'cancelled' });
    await expectOld();
    expect(await serverRow()).to.include({ status: 'running' });
  });
});
