import { createSecretKey, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { ProcessState, type ServerState, type WorkStatus, WorkState } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { row } from '#src/db/sql.js';
import type { AgentRow, FailoverPolicy } from '#src/db/types.js';
import { deriveSecretKey, sealSecret } from '#src/security/secretBox.js';
import { buildAgent, buildServer } from '../build.js';
import { AgentDriver, hear } from '../contract/agentDriver.js';
import { startTestApi, type TestApi } from '../harness/api.js';
import { rejectionCode } from '../harness/rejection.js';
import { makeShellAgent, type ShellAgent } from '../harness/shellAgent.js';
import { startTcpProxy, type TcpProxy } from '../harness/tcpProxy.js';
import { waitFor } from '../harness/waitFor.js';

const TTL_S = 4;
const RENEW_MS = 1_000;
/** Until a server has ended whose lease can't be renewed: its guard looks each second, and this machine is busy. */
const END_MS = (TTL_S + 10) * 1000;

describe('agent with a lease', function () {
  this.timeout(60_000);

  let api: TestApi;
  let proxy: TcpProxy;
  let agent: ShellAgent;
  let agentRow: AgentRow;
  let gateway: AgentGateway;
  let drivers: AgentDriver[];

  before(async () => {
    const jwtSecret = createSecretKey(randomBytes(32));
    api = await startTestApi({ auth: { jwtSecret }, lease: { ttlMs: TTL_S * 1000, renewMs: RENEW_MS } });
    proxy = await startTcpProxy(api.url);
    agent = await makeShellAgent(undefined, { AYMC_URL: proxy.url });
    gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 5_000 });
    const { agentId, token } = agent.process;
    agentRow = await buildAgent(api.db, {
      agent_id: agentId,
      capabilities: { can: (await gateway.hello(agent.address)).capabilities },
      token: sealSecret(deriveSecretKey(jwtSecret), token ?? ''),
    });
  });
  beforeEach(() => {
    drivers = [];
  });
  afterEach(async () => {
    proxy.stall(false);
    proxy.refuse(false);
    await freeze(false);
    await Promise.all(drivers.map(driver => driver.cleanUp()));
  });
  after(async () => {
    await gateway.close();
    await agent.stop();
    await proxy.close();
    await api.close();
  });

  /** Provisioned, and started where `leased` says how. */
  async function server(policy: FailoverPolicy): Promise<AgentDriver> {
    const driver = new AgentDriver(agent, gateway);
    drivers.push(driver);
    await buildServer(api.db, { id: driver.serverId, agent_id: agentRow.id, failover_policy: policy });
    await driver.provision();
    return driver;
  }

  const start = (driver: AgentDriver, leased: boolean): Promise<WorkStatus> =>
    driver.run(
      driver.request({ $case: 'start', start: { ...agent.start(driver.serverId, 'quick'), leased } }),
    );

  /** Refused ones are tried again, as Temporal does. */
  async function running(policy: FailoverPolicy): Promise<{ driver: AgentDriver; pid: number }> {
    const driver = await server(policy);
    const status = await waitFor(() => start(driver, policy !== 'never'), {
      what: 'the start to be accepted',
    });
    expect(status, status.errorDetail).to.include({ state: WorkState.SUCCEEDED });
    return { driver, pid: status.server?.pid ?? 0 };
  }

  async function stateOf(driver: AgentDriver): Promise<ServerState> {
    const state = await driver.state();
    if (state === undefined) throw new Error('the agent does not know the server');
    return state;
  }

  const playsOn = async (driver: AgentDriver, pid: number): Promise<void> => {
    expect(await stateOf(driver)).to.include({ state: ProcessState.RUNNING, pid });
  };

  const untilEnded = (driver: AgentDriver): Promise<ServerState> =>
    waitFor(
      async () => {
        const state = await stateOf(driver);
        return state.endedAtMs > 0 ? state : null;
      },
      { timeoutMs: END_MS, what: 'the guard to end the server' },
    );

  const endedByLease = { state: ProcessState.STOPPED, exitCode: 0, endCause: 'lease' };

  /** `[from, until]` of the server's lease file; undefined when there is none. */
  async function leaseOf({ serverId }: AgentDriver): Promise<[number, number] | undefined> {
    const path = join(agent.process.workDir, '.aymc', 'servers', serverId, 'lease');
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    const [, from, until] = text.trim().split(' ');
    return [Number(from), Number(until)];
  }

  async function seconds(n: number): Promise<void> {
    const end = uptime() + n;
    await waitFor(() => uptime() > end, { timeoutMs: (n + 5) * 1000, what: `${n} s to pass` });
  }

  async function granted(): Promise<AgentRow> {
    const found = await row<AgentRow>(api.db, 'SELECT * FROM agents WHERE id = $1', { bind: [agentRow.id] });
    if (!found) throw new Error('the agent has no row');
    return found;
  }

  const untilRenewed = async (): Promise<void> => {
    const { lease_seq: before } = await granted();
    // The second one was sent when the answer to the first had been taken.
    await waitFor(async () => (await granted()).lease_seq >= before + 2, {
      timeoutMs: 30_000,
      what: 'a renewal',
    });
  };

  const freeze = (frozen: boolean) =>
    row(api.db, 'UPDATE agents SET lease_frozen = $2 WHERE id = $1 RETURNING id', {
      bind: [agentRow.id, frozen],
    });

  const setPolicy = ({ serverId }: AgentDriver, policy: FailoverPolicy) =>
    row(api.db, 'UPDATE servers SET failover_policy = $2 WHERE id = $1 RETURNING id', {
      bind: [serverId, policy],
    });

  it('can lease, and says so', async () => {
    expect((await gateway.hello(agent.address)).capabilities).to.include('leases');
  });

  it('keeps a leased server running for as long as it renews', async () => {
    const { driver, pid } = await running('auto');
    await seconds(3 * TTL_S + 1);
    await playsOn(driver, pid);
    const [from, until] = (await leaseOf(driver)) ?? [0, 0];
    expect(until - from).to.be.within(TTL_S, TTL_S + 1);
    expect(until).to.be.greaterThan(uptime());
  });

  it('loses the api: leased servers are stopped in order, others play on; none starts until it is back', async () => {
    const leased = await running('manual');
    const free = await running('never');
    const other = await server('auto');
    proxy.refuse(true);
    const end = await untilEnded(leased.driver);
    expect(end).to.include(endedByLease);
    const { changes } = await hear(
      leased.driver,
      {},
      heard => heard.changes.at(-1)?.state?.state === ProcessState.STOPPED,
    );
    expect(changes.at(-1)?.reason).to.equal('lease-expired');

    expect(await rejectionCode(start(leased.driver, true))).to.equal('no-lease');
    expect(await rejectionCode(start(other, true))).to.equal('no-lease');
    await playsOn(free.driver, free.pid);
    expect(await leaseOf(free.driver)).to.equal(undefined);

    proxy.refuse(false);
    await untilRenewed();
    for (const driver of [leased.driver, other]) {
      expect((await start(driver, true)).state).to.equal(WorkState.SUCCEEDED);
    }
    await playsOn(free.driver, free.pid);
  });

  it('answers the same pair that was refused once there is a lease', async () => {
    const driver = await server('auto');
    proxy.refuse(true);
    await waitFor(
      async () => (await rejectionCode(start(driver, true)).catch(() => 'accepted')) === 'no-lease',
      { timeoutMs: END_MS, what: 'the lease to be over' },
    );
    const request = driver.request({
      $case: 'start',
      start: { ...agent.start(driver.serverId, 'quick'), leased: true },
    });
    expect(await rejectionCode(driver.submit(request))).to.equal('no-lease');
    proxy.refuse(false);
    await untilRenewed();
    expect((await driver.run(request)).state).to.equal(WorkState.SUCCEEDED);
  });

  it('killed for longer than the lease: the guard ends the server, and the next agent knows why', async () => {
    const { driver, pid } = await running('auto');
    await agent.process.kill('SIGKILL');
    await waitFor(() => !isRunning(pid), { timeoutMs: END_MS, what: 'the guard to end the server' });
    await agent.restart();
    expect(await stateOf(driver)).to.include(endedByLease);
  });

  it('killed and started again within the lease: the server plays on, and its lease with it', async () => {
    const { driver, pid } = await running('auto');
    await agent.restart();
    await seconds(2 * TTL_S);
    await playsOn(driver, pid);
  });

  it('frozen: refused, and its leased servers end', async () => {
    const { driver } = await running('auto');
    await freeze(true);
    const { lease_seq: last } = await granted();
    expect(await untilEnded(driver)).to.include(endedByLease);
    expect(await rejectionCode(start(driver, true))).to.equal('no-lease');
    expect((await granted()).lease_seq).to.equal(last);
    expect(agent.process.logs()).to.include('"code":"lease-frozen"');
    await freeze(false);
    await untilRenewed();
    expect((await start(driver, true)).state).to.equal(WorkState.SUCCEEDED);
  });

  it('follows a change of policy while the server runs, both ways', async () => {
    const { driver, pid } = await running('never');
    expect(await leaseOf(driver)).to.equal(undefined);
    await setPolicy(driver, 'auto');
    await waitFor(() => leaseOf(driver), { what: 'the server to come under the lease' });
    await setPolicy(driver, 'never');
    await waitFor(async () => (await leaseOf(driver)) === undefined, { what: 'the lease to be lifted' });
    proxy.refuse(true);
    await seconds(TTL_S + 3);
    await playsOn(driver, pid);
  });

  it('lets a start out of the lease that is told to, though the control plane can’t be asked any more', async () => {
    const { driver } = await running('auto');
    proxy.refuse(true);
    await untilEnded(driver);
    const { state, server: started } = await start(driver, false);
    expect(state).to.equal(WorkState.SUCCEEDED);
    await seconds(2);
    await playsOn(driver, started?.pid ?? 0);
  });

  it('renews nothing for a server that belongs to a newer epoch', async () => {
    const { driver } = await running('auto');
    const other = await running('auto');
    await row(api.db, 'UPDATE servers SET owner_epoch = 2 WHERE id = $1 RETURNING id', {
      bind: [driver.serverId],
    });
    expect(await untilEnded(driver)).to.include(endedByLease);
    await playsOn(other.driver, other.pid);
    const refused = await start(driver, true);
    expect([refused.state, refused.errorCode]).to.deep.equal([WorkState.FAILED, 'no-lease']);
  });

  it('counts the lease from before it asked: an answer that is held back on the way only shortens it', async () => {
    const { driver } = await running('auto');
    const heldS = 0.5;
    // An answer that is later than the agent waits for counts for nothing; one of these is in time.
    await waitFor(
      async () => {
        const [, before = 0] = (await leaseOf(driver)) ?? [];
        const { lease_seq } = await granted();
        proxy.stall(true);
        await waitFor(async () => (await granted()).lease_seq > lease_seq, { everyMs: 5, what: 'a grant' });
        const grantedBy = uptime();
        await seconds(heldS);
        proxy.stall(false);
        const arrived = await waitFor(async () => ((await leaseOf(driver))?.[1] ?? 0) > before, {
          timeoutMs: 300,
          everyMs: 5,
          what: 'the answer',
        }).catch(() => false);
        const [, until = 0] = (await leaseOf(driver)) ?? [];
        if (arrived) expect(until).to.be.at.most(grantedBy + TTL_S);
        return arrived;
      },
      { timeoutMs: 40_000, what: 'an answer that was held back and still taken' },
    );
  });

  it('never writes its token into its log', () => {
    expect(agent.process.logs()).to.include('the lease was not renewed');
    expect(agent.process.logs()).to.not.include(agent.process.token);
  });

  describe('without a control plane', () => {
    it('can’t lease, refuses what needs one, and runs the rest', async () => {
      const lonely = await makeShellAgent();
      try {
        expect((await gateway.hello(lonely.address)).capabilities).to.not.include('leases');
        const driver = new AgentDriver(lonely, gateway);
        await driver.provision();
        const work = lonely.start(driver.serverId, 'quick');
        const leased = driver.request({ $case: 'start', start: { ...work, leased: true } });
        expect(await rejectionCode(driver.submit(leased))).to.equal('no-lease');
        expect((await driver.run(driver.startRequest())).state).to.equal(WorkState.SUCCEEDED);
      } finally {
        await lonely.stop();
      }
    });
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
