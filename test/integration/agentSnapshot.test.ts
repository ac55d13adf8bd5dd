import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import pino from 'pino';
import { ProcessState, type WorkRequest, WorkState } from '#proto/gen/agent.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver } from '#test/contract/agentDriver.js';
import { makeShellAgent, type ShellAgent } from '#test/harness/shellAgent.js';
import { waitFor } from '#test/harness/waitFor.js';

const OP = '7f1c2b1e-0d0c-4d2e-9a53-3f3b8b1b7a10';
const FILES = 4_000;

/** The copy that an upgrade goes back to, made and put back by a real agent. */
describe('agent keeps a copy of a server', function () {
  this.timeout(60_000);
  const gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
  let agent: ShellAgent;
  let driver: AgentDriver;

  before(async () => {
    agent = await makeShellAgent();
  });
  beforeEach(async () => {
    driver = new AgentDriver(agent, gateway);
    await driver.provision();
    await mkdir(at('world'));
    await writeFile(at('world', 'level.dat'), 'old');
  });
  afterEach(() => driver.cleanUp());
  after(async () => {
    await gateway.close();
    await agent.stop();
  });

  const at = (...names: string[]) => join(agent.process.workDir, driver.serverId, ...names);
  const hidden = (...names: string[]) => join(agent.process.workDir, '.aymc', ...names);
  const level = () => readFile(at('world', 'level.dat'), 'utf8');
  const step = (name: 'snapshot' | 'revert' | 'discard', opId = OP): WorkRequest => {
    const work = {
      snapshot: { $case: 'snapshot', snapshot: {} },
      revert: { $case: 'revert', revert: {} },
      discard: { $case: 'discard', discard: {} },
    } as const;
    return driver.request(work[name], { key: { opId, step: `${name}-${driver.serverId}` } });
  };
  async function succeed(request: WorkRequest): Promise<void> {
    const { state, errorCode, errorDetail } = await driver.run(request);
    expect(state, `${errorCode} ${errorDetail}`).to.equal(WorkState.SUCCEEDED);
  }

  it('as a whole or not at all, also when it is killed while it copies', async () => {
    const names = Array.from({ length: FILES }, (_, n) => `${n}.mca`);
    await Promise.all(names.map(name => writeFile(at('world', name), name.repeat(20))));
    const request = step('snapshot');
    await driver.submit(request);
    const parts = (): Promise<string[]> => readdir(hidden('snapshots', driver.serverId)).catch(() => []);
    await waitFor(async () => (await parts()).includes(`op-${OP}.part`), {
      everyMs: 1,
      what: 'the copy to begin',
    });
    await agent.restart();
    expect((await driver.outcome(request)).state).to.equal(WorkState.SUCCEEDED);
    expect(await parts()).to.deep.equal([`op-${OP}`]);
    const copied = await readdir(hidden('snapshots', driver.serverId, `op-${OP}`, 'files', 'world'));
    expect(copied.toSorted()).to.deep.equal(['level.dat', ...names].toSorted());
  });

  it('and puts it back, with what it knew of the server, although it died between the two renames', async () => {
    await succeed(step('snapshot'));
    await writeFile(at('world', 'level.dat'), 'new');
    await writeFile(at('added'), '');
    const facts = hidden('servers', driver.serverId, 'server.json');
    const before: unknown = JSON.parse(await readFile(facts, 'utf8'));
    await agent.process.kill('SIGKILL');
    await writeFile(facts, JSON.stringify({ launch: { argsFile: 'libraries/args.txt' } }));
    await rename(at(), hidden('trash', 'replaced'));
    await agent.restart();
    await succeed(step('revert'));
    expect(await level()).to.equal('old');
    expect(await readdir(at())).to.not.include('added');
    expect(JSON.parse(await readFile(facts, 'utf8'))).to.deep.equal(before);
    expect(await readdir(hidden('snapshots'))).to.deep.equal([]);
    expect((await driver.boot()).state).to.equal(ProcessState.RUNNING);
  });

  it('for one operation only: another one’s has nothing to put back', async () => {
    await succeed(step('snapshot'));
    await writeFile(at('world', 'level.dat'), 'new');
    await succeed(step('revert', 'another'));
    expect(await level()).to.equal('new');
    await succeed(step('discard'));
    expect(await readdir(hidden('snapshots'))).to.deep.equal([]);
    await rm(at('world'), { recursive: true });
    await succeed(step('revert'));
    expect(await readdir(at()), 'there is none any more').to.not.include('world');
  });

  it('of none that runs, and gives none back under it', async () => {
    await driver.boot();
    for (const name of ['snapshot', 'revert'] as const) {
      expect(await driver.run(step(name))).to.include({
        state: WorkState.FAILED,
        errorCode: 'server-running',
      });
    }
  });

  it('and an operation that made one goes on when someone kills the server beside it', async () => {
    await driver.boot();
    const later = driver.request({ $case: 'revert', revert: {} });
    await succeed(driver.request({ $case: 'kill', kill: { beside: true } }));
    await succeed(later);
    const late = driver.request({ $case: 'revert', revert: {} });
    await succeed(driver.request({ $case: 'kill', kill: { beside: false } }));
    expect(await driver.submit(late).then(({ state }) => state, String)).to.contain('superseded');
  });
});
