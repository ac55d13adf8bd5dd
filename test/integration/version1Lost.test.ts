import { expect } from 'chai';
import { ProcessState, WorkState, type WorkStatus } from '#proto/gen/agent.js';
import type { AgentDriver } from '#test/contract/agentDriver.js';
import { KILL, stopWork } from '#test/contract/agentDriver.js';
import { FAKE_START } from '#test/contract/fakeContractAgent.js';
import {
  FAKE_JAR_BYTES,
  type FakeVersion1Agent,
  type FakeVersion1Options,
  type LosableMethod,
} from '#test/fakeAgent/version1.js';
import { provisionOf, SETTINGS, startVersion1, type Version1Setting } from '#test/harness/version1.js';
import { waitFor } from '#test/harness/waitFor.js';

/** What an agent does not know by a step's name it must not be told twice: it is looked at, and what can't be seen is said. */
describe('agents of version 1, when the connection is lost in the middle', function () {
  this.timeout(20_000);

  let setting: Version1Setting;
  let fake: FakeVersion1Agent;
  let driver: AgentDriver;

  async function setUp(options: FakeVersion1Options & { patienceMs?: number } = {}): Promise<void> {
    setting = await startVersion1(options);
    ({ fake, driver } = setting);
  }

  afterEach(() => setting.close());

  const told = (method: LosableMethod): number => fake.calls.filter(call => call.method === method).length;
  const untilTold = (method: LosableMethod) =>
    waitFor(() => told(method) > 0, { what: `the agent to be told ${method}` });
  const stateNow = async () => (await driver.state())?.state;
  const stop = (): Promise<WorkStatus> => driver.run(driver.request(stopWork()));

  describe('a start', () => {
    it('that was lost before it took effect is not sent again, and nobody says what became of it', async () => {
      await setUp();
      await driver.provision();
      fake.lose('startServer', 'before');
      const end = await driver.run(driver.startRequest());
      expect(end).to.include({ state: WorkState.OUTCOME_UNKNOWN, errorCode: 'outcome-unknown' });
      expect(end.server?.state).to.equal(ProcessState.STOPPED);
      expect([told('startServer'), fake.starts(driver.serverId)]).to.deep.equal([1, 0]);
    });

    it('goes on when the connection breaks while the server boots', async () => {
      await setUp({ readyMs: Infinity });
      await driver.provision();
      const start = driver.startRequest();
      await driver.submit(start);
      await waitFor(async () => (await stateNow()) === ProcessState.STARTING, { what: 'a boot' });
      fake.cut();
      fake.print(driver.serverId, '[12:00:00 INFO]: Done (1.0s)! For help, type "help"');
      expect((await driver.outcome(start)).server?.state).to.equal(ProcessState.RUNNING);
      expect(told('startServer')).to.equal(1);
    });

    it('whose agent has forgotten the server ends unknown, not failed', async () => {
      await setUp({ readyMs: Infinity });
      await driver.provision();
      const start = driver.startRequest();
      await driver.submit(start);
      await waitFor(async () => (await stateNow()) === ProcessState.STARTING, { what: 'a boot' });
      fake.die();
      await fake.restart();
      expect(await driver.outcome(start)).to.include({
        state: WorkState.OUTCOME_UNKNOWN,
        errorCode: 'outcome-unknown',
      });
      expect(told('startServer')).to.equal(1);
    });

    it('that is not ready in time is ended, also when the first word of it is lost', async () => {
      await setUp({ readyMs: Infinity });
      await driver.provision();
      fake.lose('stopServer', 'before');
      const start = { ...FAKE_START, settings: SETTINGS, readyTimeoutSeconds: 1 };
      const end = await driver.run(driver.request({ $case: 'start', start }));
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'start-timeout' });
      expect(await stateNow()).to.equal(ProcessState.STOPPED);
    });

    it('that left a process which does not end has not failed for certain', async () => {
      await setUp({ readyMs: Infinity });
      await driver.provision();
      fake.lose('stopServer', 'before', Infinity);
      const start = { ...FAKE_START, settings: SETTINGS, readyTimeoutSeconds: 1 };
      const end = await driver.run(driver.request({ $case: 'start', start }));
      expect(end.state).to.equal(WorkState.OUTCOME_UNKNOWN);
      expect(await stateNow()).to.equal(ProcessState.STARTING);
    });
  });

  describe('a stop', () => {
    it('whose answer is lost is looked at, and not sent again', async () => {
      await setUp();
      await driver.boot();
      const request = driver.request(stopWork());
      await driver.submit(request);
      await untilTold('stopServer');
      fake.cut();
      expect((await driver.outcome(request)).server?.state).to.equal(ProcessState.STOPPED);
      expect(told('stopServer')).to.equal(1);
    });

    it('that did not arrive is sent again, once it is seen that the server runs', async () => {
      await setUp();
      await driver.boot();
      fake.lose('stopServer', 'before');
      expect((await stop()).server?.state).to.equal(ProcessState.STOPPED);
      expect(told('stopServer')).to.equal(2);
    });

    it('that never arrives has failed, and the server is shown as it is', async () => {
      await setUp();
      await driver.boot();
      fake.lose('stopServer', 'before', Infinity);
      const end = await stop();
      expect(end).to.include({ state: WorkState.FAILED, errorCode: 'stop-failed' });
      expect(end.server?.state).to.equal(ProcessState.RUNNING);
      expect((await driver.run(driver.request(KILL))).errorCode).to.equal('agent-unsupported');
    });
  });

  describe('a provision', () => {
    const sized = () => provisionOf('paper', { sizeBytes: FAKE_JAR_BYTES });
    const provision = (): Promise<WorkStatus> =>
      driver.run(driver.request({ $case: 'provision', provision: sized() }));

    it('whose download breaks off fetches what is not whole again', async () => {
      await setUp();
      fake.lose('downloadServer', 'before');
      const end = await provision();
      expect(end.state).to.equal(WorkState.SUCCEEDED);
      expect(end.server?.provisioned).to.equal(true);
      expect(told('downloadServer')).to.equal(2);
    });

    it('whose download is whole does not fetch it again, though nobody said so', async () => {
      await setUp();
      fake.lose('downloadServer', 'after');
      expect((await provision()).state).to.equal(WorkState.SUCCEEDED);
      expect(told('downloadServer')).to.equal(1);
    });
  });

  it('ends unknown, whatever it was, when the agent stays away', async () => {
    await setUp({ readyMs: Infinity, stopMs: 5_000, patienceMs: 300 });
    await driver.provision();
    const start = driver.startRequest();
    await driver.submit(start);
    await waitFor(async () => (await stateNow()) === ProcessState.STARTING, { what: 'a boot' });
    fake.die();
    const unknown = { state: WorkState.OUTCOME_UNKNOWN, errorCode: 'outcome-unknown', server: undefined };
    expect(await driver.outcome(start)).to.include(unknown);
    expect(await stop()).to.include(unknown);
    const provision = driver.request({ $case: 'provision', provision: provisionOf('paper') });
    expect(await driver.run(provision)).to.include(unknown);
  });
});
