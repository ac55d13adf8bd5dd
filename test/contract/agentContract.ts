import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import pino from 'pino';
import { ProcessState, WorkState } from '#proto/gen/agent.js';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { waitFor } from '#test/harness/waitFor.js';
import { describeAgentEvents } from './agentEvents.js';
import { describeAgentFiles } from './agentFiles.js';
import { AgentDriver, DELETE, isTerminal, KILL, keyOf, stopWork, type ContractAgent } from './agentDriver.js';

/**
 * What every agent must obey, seen through the gateway. `makeAgent` is called once; each test has a server of its own.
 */
export function describeAgentContract(name: string, makeAgent: () => Promise<ContractAgent>): void {
  describeAgent(name, makeAgent, driver => {
    describeIdentity(driver);
    describeSubmit(driver);
    describeWatch(driver);
    describeOrder(driver);
    describePreemption(driver);
    describePower(driver);
    describeProcess(driver);
    describeCommands(driver);
    describeAgentEvents(driver);
    describe('files', () => describeAgentFiles(driver));
  });
}

/** The part of it that the gateway keeps in place of agents of version 1. */
export function describeVersion1Contract(name: string, makeAgent: () => Promise<ContractAgent>): void {
  describeAgent(name, makeAgent, driver => {
    describeSubmit(driver);
    describeWatch(driver);
    describePreemption(driver);
    describePower(driver);
  });
}

function describeAgent(
  name: string,
  makeAgent: () => Promise<ContractAgent>,
  describeParts: (driver: () => AgentDriver) => void,
): void {
  describe(`agent contract: ${name}`, function () {
    this.timeout(90_000);

    let agent: ContractAgent;
    let gateway: AgentGateway;
    let driver: AgentDriver;

    before(async () => {
      agent = await makeAgent();
      gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
    });

    after(async () => {
      await gateway.close();
      await agent.stop();
    });

    beforeEach(() => {
      driver = new AgentDriver(agent, gateway);
    });

    afterEach(() => driver.cleanUp());

    describeParts(() => driver);
  });
}

function describeIdentity(driver: () => AgentDriver): void {
  it('says who it is and that it does durable work', async () => {
    const { gateway, address } = driver();
    const hello = await gateway.hello(address);
    expect(hello.capabilities).to.include.members(['work', 'dedup', 'events']);
    expect(hello.agentId).to.not.equal('');
    expect(hello.bootId).to.not.equal('');
    expect(hello.incarnation).to.not.equal('');
  });

  it('answers the questions of the version 1 surface', async () => {
    const { gateway, address } = driver();
    expect((await gateway.ping(address)).latencyMs).to.be.within(0, 5_000);
    expect((await gateway.health(address)).healthy).to.equal(true);
    expect((await gateway.info(address)).agentId).to.equal((await gateway.hello(address)).agentId);
    expect((await gateway.metrics(address)).memoryTotal).to.be.greaterThan(0);
  });

  it('refuses a caller with another token', async () => {
    const { gateway, address } = driver();
    const stranger = { ...address, token: 'not-the-token' };
    expect(await rejectionCode(gateway.inspectServers(stranger))).to.equal('agent-refused');
    expect(await rejectionCode(gateway.inspectServers({ ...address, token: null }))).to.equal(
      'agent-refused',
    );
  });

  it('is given up on at the deadline when it hangs, and used again when it is back', async () => {
    const { agent, gateway, address } = driver();
    await gateway.ping(address);
    agent.freeze();
    const begin = performance.now();
    expect(await rejectionCode(gateway.ping(address, { deadlineMs: 400 }))).to.equal('agent-timeout');
    expect(performance.now() - begin).to.be.lessThan(2_000);
    agent.thaw();
    expect((await gateway.ping(address)).latencyMs).to.be.greaterThan(0);
  });
}

function describeSubmit(driver: () => AgentDriver): void {
  it('runs a pair of operation and step once, however often it is submitted', async () => {
    await driver().provision();
    const request = driver().startRequest();
    await Promise.all(Array.from({ length: 20 }, () => driver().submit(request)));
    const first = await driver().outcome(request);
    expect(first.state).to.equal(WorkState.SUCCEEDED);

    await driver().run(driver().request(stopWork()));
    const again = await driver().submit(request);

    expect(again.state).to.equal(WorkState.SUCCEEDED);
    expect(again.server?.pid).to.equal(first.server?.pid);
    expect((await driver().state())?.state, 'the stopped server stays stopped').to.equal(
      ProcessState.STOPPED,
    );
  });

  it('refuses a request without a key', async () => {
    const request = driver().request(KILL, { key: undefined });
    expect(await rejectionCode(driver().submit(request))).to.equal('invalid-request');
  });

  it('will not start what was never provisioned', async () => {
    const status = await driver().run(driver().startRequest());
    expect(status.state).to.equal(WorkState.FAILED);
    expect(status.errorCode).to.equal('not-installed');
  });

  it('knows no work that was never submitted', async () => {
    const unknown = driver().request(KILL);
    expect(await rejectionCode(driver().follow(unknown))).to.equal('not-found');
    expect(await rejectionCode(driver().cancel(unknown))).to.equal('not-found');
  });
}

function describeWatch(driver: () => AgentDriver): void {
  it('tells the present state first and ends after the terminal one, which names the server', async () => {
    await driver().provision();
    const request = driver().startRequest();
    await driver().submit(request);
    const statuses = await driver().follow(request);
    expect(statuses.slice(0, -1).some(isTerminal)).to.equal(false);
    expect(statuses.at(-1)?.state).to.equal(WorkState.SUCCEEDED);
    expect(statuses.at(-1)?.server?.state).to.equal(ProcessState.RUNNING);

    const later = await driver().follow(request);
    expect(later).to.have.lengthOf(1);
    expect(later[0]).to.deep.equal(statuses.at(-1));
  });

  it('can be left and taken up again without any effect on the work', async () => {
    await driver().provision();
    const request = driver().startRequest();
    await driver().submit(request);
    for await (const status of driver().watch(request)) {
      expect(status.key).to.deep.equal(keyOf(request));
      break;
    }
    expect((await driver().outcome(request)).state).to.equal(WorkState.SUCCEEDED);
  });

  it('tells several watchers the same end', async () => {
    await driver().provision();
    const request = driver().startRequest();
    await driver().submit(request);
    const ends = await Promise.all([1, 2, 3].map(() => driver().outcome(request)));
    expect(ends.map(end => end.state)).to.deep.equal(Array(3).fill(WorkState.SUCCEEDED));
  });

  it('stops waiting when the caller aborts', async () => {
    await driver().provision();
    const request = driver().startRequest('never');
    await driver().submit(request);
    const abort = new AbortController();
    const watching = (async () => {
      for await (const status of driver().watch(request, { signal: abort.signal })) {
        if (status.state === WorkState.IN_PROGRESS) abort.abort();
      }
    })();
    expect(await rejectionCode(watching)).to.equal('cancelled');
  });

  it('ends a start early when asked to, more than once, and leaves nothing running', async () => {
    await driver().provision();
    const request = driver().startRequest('never');
    await driver().submit(request);
    await waitFor(async () => (await driver().state())?.state === ProcessState.STARTING, { what: 'a boot' });

    await Promise.all([driver().cancel(request), driver().cancel(request)]);
    const end = await driver().outcome(request);

    expect(end.state).to.equal(WorkState.CANCELLED);
    expect(end.errorCode).to.equal('cancelled');
    expect(end.server?.state).to.equal(ProcessState.STOPPED);
    expect((await driver().cancel(request)).state).to.equal(WorkState.CANCELLED);
  });
}

function describeOrder(driver: () => AgentDriver): void {
  it('refuses work of an older operation or epoch than it has seen for the server', async () => {
    await driver().provision();
    await driver().run(driver().request(stopWork(), { opSeq: 50, epoch: 3 }));
    const older = driver().request(stopWork(), { opSeq: 49, epoch: 3 });
    expect(await rejectionCode(driver().submit(older))).to.equal('superseded');
    const stale = driver().request(stopWork(), { opSeq: 51, epoch: 2 });
    expect(await rejectionCode(driver().submit(stale))).to.equal('superseded');

    const newOwner = await driver().run(driver().request(stopWork(), { opSeq: 1, epoch: 4 }));
    expect(newOwner.state).to.equal(WorkState.SUCCEEDED);
    const { epoch, opSeq } = (await driver().state()) ?? {};
    expect({ epoch, opSeq }).to.deep.equal({ epoch: 4, opSeq: 1 });
  });

  it('ends the undo of an operation that the server has moved past, and touches nothing', async () => {
    const server = await driver().boot();
    const undo = driver().request(stopWork(), { undo: true, opSeq: 0 });
    const end = await driver().run(undo);
    expect(isTerminal(end)).to.equal(true);
    expect(end.errorCode).to.equal('superseded');
    const after = await driver().state();
    expect(after?.state).to.equal(ProcessState.RUNNING);
    expect(after?.pid).to.equal(server.pid);
  });
}

function describePreemption(driver: () => AgentDriver): void {
  it('lets a kill through at once while a start hangs', async () => {
    await driver().provision();
    const start = driver().startRequest('never');
    await driver().submit(start);
    await waitFor(async () => (await driver().state())?.state === ProcessState.STARTING, { what: 'a boot' });

    const kill = await driver().run(driver().request(KILL));

    expect(kill.state).to.equal(WorkState.SUCCEEDED);
    expect(kill.server?.state).to.equal(ProcessState.STOPPED);
    const started = await driver().outcome(start);
    expect(started.state).to.not.equal(WorkState.SUCCEEDED);
  });

  it('lets a stop end a start that is under way', async () => {
    await driver().provision();
    const start = driver().startRequest('never');
    await driver().submit(start);
    await waitFor(async () => (await driver().state())?.state === ProcessState.STARTING, { what: 'a boot' });

    const stop = await driver().run(driver().request(stopWork()));

    expect(stop.state).to.equal(WorkState.SUCCEEDED);
    expect(stop.server?.state).to.equal(ProcessState.STOPPED);
    expect((await driver().outcome(start)).state).to.not.equal(WorkState.SUCCEEDED);
  });
}

function describePower(driver: () => AgentDriver): void {
  it('answers a start of a running and a stop of a stopped server as done, and does nothing', async () => {
    const server = await driver().boot();
    const start = await driver().run(driver().startRequest());
    expect(start.state).to.equal(WorkState.SUCCEEDED);
    expect(start.server?.pid).to.equal(server.pid);

    expect((await driver().run(driver().request(stopWork()))).server?.state).to.equal(ProcessState.STOPPED);
    const again = await driver().run(driver().request(stopWork()));
    expect(again.state).to.equal(WorkState.SUCCEEDED);
  });

  it('leaves a run alone when the stop was meant for another one', async () => {
    const server = await driver().boot();
    const other = await driver().run(driver().request(stopWork(`${randomUUID()}/start`)));
    expect(other.state).to.equal(WorkState.SUCCEEDED);
    expect((await driver().state())?.pid).to.equal(server.pid);

    const meant = await driver().run(driver().request(stopWork(server.runId)));
    expect(meant.server?.state).to.equal(ProcessState.STOPPED);
  });

  it('names a run after the work that started it', async () => {
    await driver().provision();
    const request = driver().startRequest();
    const { server } = await driver().run(request);
    expect(server?.runId).to.equal(`${keyOf(request).opId}/${keyOf(request).step}`);
    expect(server?.startedAtMs).to.be.greaterThan(0);
    expect(server?.readyAtMs).to.be.at.least(server?.startedAtMs ?? Infinity);
  });
}

function describeProcess(driver: () => AgentDriver): void {
  it('tells a crash from a stop, with the exit code', async () => {
    const server = await driver().boot();
    await driver().agent.crash(server);
    const crashed = await waitFor(
      async () => {
        const state = await driver().state();
        return state?.state === ProcessState.CRASHED ? state : undefined;
      },
      { what: 'the crash to be seen' },
    );
    expect(crashed.exitCode).to.be.greaterThan(0);
    expect(crashed.endedAtMs).to.be.greaterThan(0);

    const restarted = await driver().run(driver().startRequest());
    expect(restarted.server?.state).to.equal(ProcessState.RUNNING);
  });

  it('outlives its own death: servers play on, and what was done is not done again', async () => {
    await driver().provision();
    const request = driver().startRequest();
    const { server } = await driver().run(request);
    const before = await driver().gateway.hello(driver().address);

    await driver().agent.restart();

    const after = await waitFor(() => driver().gateway.hello(driver().address), { what: 'the agent' });
    expect(after.bootId).to.equal(before.bootId);
    expect(after.incarnation).to.not.equal(before.incarnation);
    expect((await driver().state())?.pid).to.equal(server?.pid);
    expect((await driver().submit(request)).state).to.equal(WorkState.SUCCEEDED);
    const older = driver().request(stopWork(), { opSeq: 0 });
    expect(await rejectionCode(driver().submit(older))).to.equal('superseded');
  });

  it('forgets a deleted server, running or not', async () => {
    await driver().boot();
    const end = await driver().run(driver().request(DELETE));
    expect(end.state).to.equal(WorkState.SUCCEEDED);
    expect(await driver().state()).to.equal(undefined);
  });
}

function describeCommands(driver: () => AgentDriver): void {
  it('refuses commands to a server that does not run', async () => {
    await driver().provision();
    expect(await rejectionCode(driver().send('say hello'))).to.equal('server-not-running');
  });

  it('refuses a command that is more than one line', async () => {
    await driver().boot();
    expect(await rejectionCode(driver().send('say a\nop mallory'))).to.equal('invalid-request');
  });
}
