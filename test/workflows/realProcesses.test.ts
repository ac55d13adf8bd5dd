import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ServerState } from '#proto/gen/agent.js';
import { row } from '#src/db/sql.js';
import type { ServerRow } from '#src/db/types.js';
import type { OperationKind } from '#src/domain/operation.js';
import { buildServer } from '../build.js';
import { copiesOf, makeShellAgent, type ShellAgent } from '../harness/shellAgent.js';
import { startTestStack, type TestStack } from '../harness/stack.js';
import { waitFor } from '../harness/waitFor.js';

/** From what happens to a process until the server's row says so. */
const SEEN_WITHIN_MS = 2_000;
const BACK_WITHIN_MS = 10_000;

describe('the status of a server follows its real process', function () {
  this.timeout(60_000);
  let stack: TestStack;
  let agent: ShellAgent;
  let agentId: string;
  let server: string;

  before(async () => {
    stack = await startTestStack();
    agent = await makeShellAgent();
    agentId = await stack.register(agent);
  });
  after(async () => {
    await stack.stop();
    await agent.stop();
  });

  beforeEach(async () => {
    const built = await buildServer(stack.db, {
      agent_id: agentId,
      installed: false,
      java_version: 21,
      jar_url: agent.artifact.url,
      jar_sha256: agent.artifact.sha256,
    });
    server = built.id;
    await carry('server.provision');
    await carry('server.start');
  });
  afterEach(() => carry('server.kill'));

  const ask = async (kind: OperationKind) => {
    const asked = { kind, serverId: server, requestedBy: null, trigger: 'user' } as const;
    return (await stack.operations.request(asked)).operation;
  };
  async function carry(kind: OperationKind): Promise<void> {
    expect(await stack.ended((await ask(kind)).id)).to.include({ state: 'succeeded' });
  }
  const serverRow = async () => {
    const found = await row<ServerRow>(stack.db, 'SELECT * FROM servers WHERE id = $1', { bind: [server] });
    if (!found) throw new Error('the server is gone');
    return found;
  };
  const until = (status: ServerRow['status'], timeoutMs = SEEN_WITHIN_MS): Promise<ServerRow> =>
    waitFor(
      async () => {
        const found = await serverRow();
        return found.status === status && found.current_op_id === null ? found : null;
      },
      { timeoutMs, everyMs: 10, what: `the server to be ${status}` },
    );
  const type = (command: string) =>
    stack.core.gateway.sendCommand(agent.address, { serverId: server, command });
  const stateAtAgent = async (): Promise<ServerState> => {
    const { servers } = await stack.core.gateway.inspectServers(agent.address);
    const found = servers.find(({ serverId }) => serverId === server);
    if (!found) throw new Error('the agent does not know the server');
    return found;
  };

  it('when someone types `stop` on its console', async () => {
    await type('stop');
    expect(await until('stopped')).to.include({ desired_state: 'stopped', last_crash: null });
  });

  it('when it crashes, and when it is up again', async () => {
    await type('crash');
    const { last_crash } = await until('error');
    expect(last_crash).to.include({ exit_code: 1 });
    expect(await until('running', BACK_WITHIN_MS)).to.include({ crash_count: 1 });
    expect(await copiesOf(agent.process, server)).to.have.length(1);
  });

  it('when somebody on its host tells it to leave, which is a wish', async () => {
    process.kill((await stateAtAgent()).pid, 'SIGTERM');
    expect(await until('stopped')).to.include({ desired_state: 'stopped' });
  });

  it('when it is killed on its host', async () => {
    process.kill((await stateAtAgent()).pid, 'SIGKILL');
    expect((await until('error')).last_crash).to.include({ exit_code: 137 });
    await until('running', BACK_WITHIN_MS);
    expect(await copiesOf(agent.process, server)).to.have.length(1);
  });

  it('and never becomes two: a process that only its kernel lock tells of is not started beside', async () => {
    const [pid] = await copiesOf(agent.process, server);
    await agent.process.kill('SIGKILL');
    const records = join(agent.process.workDir, '.aymc/servers', server, 'runs');
    await rename(records, `${records}-lost`);
    await agent.process.restart();
    // Its agent can't know it: that is told, and every start is refused.
    const { last_crash } = await until('error', BACK_WITHIN_MS);
    expect(last_crash).to.include({ code: 'unseen' });
    const start = await stack.ended((await ask('server.start')).id);
    expect(start).to.include({ state: 'failed' });
    expect(start.error).to.include({ code: 'server-running' });
    expect(await copiesOf(agent.process, server)).to.deep.equal([pid]);
    process.kill(-Number(pid), 'SIGKILL');
  });
});
