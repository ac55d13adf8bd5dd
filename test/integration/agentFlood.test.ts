import { expect } from 'chai';
import pino from 'pino';
import type { AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import { AgentDriver } from '#test/contract/agentDriver.js';
import { makeShellAgent, type ShellAgent } from '#test/harness/shellAgent.js';

const READY = `say 'Done (0.1s)! For help, type "help"'`;
const COMMANDS = `while read -r line; do [ "$line" = stop ] && exit 0; done`;
const LINES = 100_000;
/** As fast as a file can be written. */
const FLOOD = `${READY}; awk 'BEGIN { for (n = 1; n <= ${LINES}; n++) print "flood " n " ................................" }'; ${COMMANDS}`;
const TICKS = `${READY}; n=0; while :; do n=$((n + 1)); say "tick $n"; sleep 0.02; done`;
/** A server's turn, and the line that does not end within it. */
const TURN_BYTES = (32 + 16) * 1024;

describe('an agent with a server that floods its console', function () {
  this.timeout(60_000);
  let agent: ShellAgent;
  let gateway: AgentGateway;
  const drivers: AgentDriver[] = [];

  before(async () => {
    agent = await makeShellAgent();
    gateway = createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 10_000 });
  });
  after(async () => {
    for (const driver of drivers) await driver.cleanUp();
    await gateway.close();
    await agent.stop();
  });

  async function boot(script: string): Promise<string> {
    const driver = new AgentDriver(agent, gateway);
    drivers.push(driver);
    await driver.provision();
    await driver.run(driver.request({ $case: 'start', start: await agent.startScript(script) }));
    return driver.serverId;
  }

  it('gives it no more than its turn, and loses no line of it', async () => {
    const ticking = await boot(TICKS);
    const flooding = await boot(FLOOD);
    const fromTheStart = { runId: '', offset: 0 };
    const request = {
      afterSeq: 0,
      journalId: '',
      console: { [ticking]: fromTheStart, [flooding]: fromTheStart },
      samples: undefined,
    };
    let floods = 0;
    let batches = 0;
    let batchesWithTicks = 0;
    for await (const { events } of gateway.streamEvents(agent.address, request, { deadlineMs: 30_000 })) {
      let isFlooding = false;
      for (const { serverId, event } of events) {
        if (event?.$case !== 'console' || serverId !== flooding) continue;
        const { lines, offset, nextOffset, droppedBytes } = event.console;
        expect(nextOffset - offset).to.be.at.most(TURN_BYTES);
        expect(droppedBytes).to.equal(0);
        isFlooding = true;
        for (const line of lines) {
          if (line.startsWith('flood')) expect(line.split(' ')[1]).to.equal(`${++floods}`);
        }
      }
      if (isFlooding) batches += 1;
      const ticks = events.some(({ serverId, event }) => serverId === ticking && event?.$case === 'console');
      if (isFlooding && ticks) batchesWithTicks += 1;
      if (floods === LINES) break;
    }
    expect(batches).to.be.above(50);
    expect(batchesWithTicks, 'batches that had room for the neighbour').to.be.above(1);
  });
});
