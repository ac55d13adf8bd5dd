import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import type { JavaPackage, ProvisionWork } from '#proto/gen/agent.js';
import { findOperation } from '#src/db/operationQueries.js';
import { row } from '#src/db/sql.js';
import type { AgentRow, ServerRow } from '#src/db/types.js';
import { buildServer, buildUser } from '../build.js';
import { onWork, startFakeAgent, type FakeAgent } from '../fakeAgent.js';
import { rejectionCode } from '../harness/rejection.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';
import { type AdoptiumServer, serveAdoptium } from '../upstreams/adoptium.js';
import { type LocalUpstreams, startUpstreams } from '../upstreams/upstreams.js';

const SHA256 = 'ab'.repeat(32);
const CONTACT = 'ops@example.test';
const LINK = 'https://files.example/jre.tar.gz';
const build = {
  imageType: 'jre',
  architecture: 'x64',
  os: 'linux',
  link: LINK,
  size: 5,
  checksum: SHA256,
} as const;

/** The scripted agent says that it has Java 21. */
describe('Java for agents and servers', function () {
  this.timeout(60_000);
  let stack: TestStack;
  let agent: FakeAgent;
  let agentId: string;
  let adoptium: AdoptiumServer;
  let upstreams: LocalUpstreams;
  let user: string;

  before(async () => {
    adoptium = await serveAdoptium([17, 25].map(major => ({ ...build, major })));
    upstreams = await startUpstreams(Buffer.from('a jar'));
    stack = await startTestStack({
      ...upstreams.env,
      ADOPTIUM_URL: adoptium.url,
      AGENT_REACH_BUDGET: '1s',
      UPSTREAM_CONTACT: CONTACT,
    });
    agent = await startFakeAgent();
    agentId = await stack.register(agent);
    user = (await buildUser(stack.db)).id;
  });
  beforeEach(() => {
    adoptium.misbehave(undefined);
    agent.clearScript();
  });
  after(async () => {
    await stack.stop();
    await agent.stop();
    await adoptium.close();
    await upstreams.close();
  });

  const install = (version: number, idempotencyKey: string = randomUUID()) =>
    stack.operations.requestForAgent({
      kind: 'agent.install_java',
      agentId,
      requestedBy: user,
      trigger: 'user',
      params: { version },
      idempotencyKey,
    });

  const OWN_JAR = { jar_url: 'http://127.0.0.1/server.jar', jar_sha256: 'a'.repeat(64) };

  async function provisioned(...server: Parameters<typeof provision>) {
    return stack.ended(await provision(...server));
  }

  async function provision(
    version: string,
    java_version: number | null,
    source: Partial<ServerRow> = OWN_JAR,
  ) {
    const server = await buildServer(stack.db, {
      user_id: user,
      agent_id: agentId,
      version,
      java_version,
      ...source,
    });
    const { operation } = await stack.operations.request({
      kind: 'server.provision',
      serverId: server.id,
      requestedBy: user,
      trigger: 'user',
    });
    return operation.id;
  }

  /** The provision that the agent was given last. */
  function lastProvision(): ProvisionWork {
    const work = agent.lastWork?.work;
    if (work?.$case !== 'provision') throw new Error('the agent was not given a provision');
    return work.provision;
  }
  /** The Java that came with it. */
  const providedJava = (): JavaPackage | undefined => lastProvision().java;

  it('an agent installs one as an operation of its own, exactly once for a key', async () => {
    const key = randomUUID();
    const { operation } = await install(17, key);
    expect(operation).to.include({ server_id: null, agent_id: agentId, state: 'accepted' });
    expect(await stack.ended(operation.id)).to.include({ state: 'succeeded', error: null });
    const java = { major: 17, pinned: true, url: LINK, sha256: SHA256, sizeBytes: 5, contact: CONTACT };
    expect(agent.lastWork).to.have.property('serverId', '');
    expect(agent.lastWork?.work).to.deep.equal({ $case: 'installJava', installJava: { java } });
    expect(await install(17, key)).to.deep.include({ replayed: true });
    expect(await rejectionCode(install(25, key))).to.equal('idempotency-key-reused');
  });

  it('it can be cancelled, and what Adoptium lacks or the agent refuses is told', async () => {
    agent.script(onWork('installJava', { afterMs: Infinity }));
    const { operation } = await install(25);
    await waitFor(async () => (await findOperation(stack.db, operation.id))?.progress?.phase === 'java', {
      what: 'its progress',
    });
    await stack.operations.cancel(operation.id, { userId: user });
    expect(await stack.ended(operation.id)).to.have.property('state', 'cancelled');
    agent.clearScript();

    const unknown = await stack.ended((await install(9)).operation.id);
    expect(unknown).to.have.nested.property('error.code', 'artifact-unknown');
    agent.script(onWork('installJava', { endsWith: 'checksum-mismatch' }));
    const wrong = await stack.ended((await install(17)).operation.id);
    expect(wrong).to.have.nested.property('error.code', 'checksum-mismatch');
  });

  it('a provision brings what the agent lacks, and asks nobody for what it has', async () => {
    const asked = adoptium.requests.length;
    expect(await provisioned('1.20.6', null)).to.have.property('state', 'succeeded');
    expect(providedJava()).to.equal(undefined);
    expect(adoptium.requests).to.have.lengthOf(asked);

    expect(await provisioned('26.1', null)).to.have.property('state', 'succeeded');
    expect(providedJava()).to.include({ major: 25, pinned: false });
    expect(await provisioned('1.20.6', 17)).to.have.property('state', 'succeeded');
    expect(providedJava()).to.include({ major: 17, pinned: true });
    expect(await provisioned('1.20.6', 16), 'there is none').to.have.property('state', 'succeeded');
    expect(providedJava()).to.equal(undefined);
  });

  it('what is built gets the lowest Java that it takes, though the agent has a newer one; what only runs does not', async () => {
    await provisioned('1.20.1', null, { server_type: 'spigot' });
    expect(lastProvision()).to.deep.include({ javaMajor: 17, javaPinned: true });
    expect(lastProvision().artifact).to.include({ javaMajor: 17, contact: CONTACT });
    expect(providedJava()).to.include({ major: 17, pinned: true });
    await provisioned('1.20.1', 21, { server_type: 'spigot' });
    expect(lastProvision()).to.deep.include({ javaMajor: 21, javaPinned: true, java: undefined });

    await provisioned('26.1.2', null, { server_type: 'paper' });
    expect(lastProvision()).to.deep.include({ javaMajor: 25, javaPinned: false });
    expect(lastProvision().artifact).to.include({ javaMajor: 25, contact: CONTACT });
    await provisioned('1.20.1', null, { server_type: 'forge' });
    expect(lastProvision()).to.deep.include({ javaMajor: 17, javaPinned: false, java: undefined });
    expect(lastProvision().artifact, 'its upstream does not say').to.include({ javaMajor: 0 });
    await provisioned('1.7.10', null, { server_type: 'forge' });
    expect(lastProvision(), 'it runs on no newer one').to.deep.include({ javaMajor: 8, javaPinned: true });
    await provisioned('1.20.1', null);
    expect(lastProvision().artifact, 'a host of the user’s').to.include({ contact: '' });
  });

  it('an upstream that is down fails only who needs it, and not for hours', async () => {
    adoptium.misbehave({ status: 503, body: '' });
    expect(await provisioned('1.20.6', null)).to.have.property('state', 'succeeded');
    expect(await provisioned('26.1', null)).to.have.nested.property('error.code', 'upstream-failed');
  });

  it('a worker that takes over watches what the agent works on, without asking the upstream again', async () => {
    agent.script(onWork('provision', { afterMs: 3_000 }));
    const isAtWork = async (id: string) =>
      (await findOperation(stack.db, id))?.progress?.phase === 'download';
    const operation = await provision('26.1', null);
    await waitFor(() => isAtWork(operation), { what: 'the agent to be at work' });
    const asked = adoptium.requests.length;
    const submitted = agent.calls.filter(({ method }) => method === 'submitWork').length;
    adoptium.misbehave({ status: 503, body: '' });

    await stack.restartWorker();
    expect(await stack.ended(operation)).to.include({ state: 'succeeded', error: null });
    expect(adoptium.requests).to.have.lengthOf(asked);
    expect(agent.calls.filter(({ method }) => method === 'submitWork')).to.have.lengthOf(submitted);
  });

  it('the agent’s runtimes and processor are in its capabilities', async () => {
    const agentRow = await row<AgentRow>(stack.db, 'SELECT * FROM agents WHERE id = $1', { bind: [agentId] });
    expect(agentRow?.capabilities).to.have.property('arch', 'x64');
    expect(agentRow?.capabilities).to.have.nested.property('java_runtimes[0].major', 21);
  });
});
