import { randomUUID } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { expect } from 'chai';
import pino from 'pino';
import { WorkState, type WorkRequest } from '#proto/gen/agent.js';
import type { AgentAddress, AgentGateway } from '#src/agents/gateway.js';
import { createGrpcGateway } from '#src/agents/grpcGateway.js';
import type { ErrorCode } from '#src/domain/errors.js';
import { describeAgentContract } from '#test/contract/agentContract.js';
import { FAKE_START, startFakeContractAgent } from '#test/contract/fakeContractAgent.js';
import {
  hang,
  loseReply,
  neverReady,
  onStart,
  refuse,
  startFakeAgent,
  type FakeAgent,
  type FakeAgentOptions,
} from '#test/fakeAgent.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { waitFor } from '#test/harness/waitFor.js';

describeAgentContract('scripted agent', startFakeContractAgent);

describe('agent gateway', () => {
  const agents: FakeAgent[] = [];
  let gateway: AgentGateway;

  beforeEach(() => {
    gateway = makeGateway();
  });

  afterEach(async () => {
    await gateway.close();
    await Promise.all(agents.splice(0).map(agent => agent.stop()));
  });

  async function makeAgent(options: FakeAgentOptions = {}): Promise<FakeAgent> {
    const agent = await startFakeAgent(options);
    agents.push(agent);
    return agent;
  }

  describe('TLS', () => {
    it('talks to the agent that shows the pinned certificate', async () => {
      const { address } = await makeAgent({ tls: true, token: 'secret' });
      expect((await gateway.hello(address)).capabilities).to.include('work');
    });

    it('accepts a fingerprint as people paste it', async () => {
      const { address } = await makeAgent({ tls: true });
      const pasted = address.tls_fingerprint?.toUpperCase().match(/../g)?.join(':') ?? '';
      await gateway.ping({ ...address, tls_fingerprint: pasted });
    });

    it('sends nothing, least of all the token, to an agent with another certificate', async () => {
      const agent = await makeAgent({ tls: true, token: 'secret' });
      const wrong = { ...agent.address, tls_fingerprint: 'ab'.repeat(32) };
      expect(await rejectionCode(gateway.ping(wrong))).to.equal('agent-tls');
      expect(await rejectionCode(gateway.ping({ ...agent.address, tls_fingerprint: null }))).to.equal(
        'agent-tls',
      );
      expect(agent.calls).to.deep.equal([]);
    });

    it('notices a certificate that changed under an open channel, until the new one is pinned', async () => {
      const agent = await makeAgent({ tls: true });
      const old = agent.address;
      await gateway.ping(old);
      await agent.restart({ newCertificate: true });
      await waitFor(async () => (await rejectionCode(gateway.ping(old))) === 'agent-tls', {
        what: 'the refusal',
      });
      await gateway.ping(agent.address);
    });

    it('takes any certificate in insecure mode', async () => {
      const { address } = await makeAgent({ tls: true });
      await gateway.ping({ ...address, tls_mode: 'insecure', tls_fingerprint: null });
    });

    it('tells a TLS mismatch from an agent that is away', async () => {
      const { address } = await makeAgent();
      const pinned: AgentAddress = { ...address, tls_mode: 'pinned', tls_fingerprint: 'ab'.repeat(32) };
      expect(await rejectionCode(gateway.ping(pinned))).to.equal('agent-tls');
    });
  });

  describe('reachability', () => {
    it('says at once that nobody listens, and finds the agent at once when it is back', async () => {
      const agent = await makeAgent();
      await gateway.ping(agent.address);
      agent.goDown();
      await waitFor(async () => (await rejectionCode(gateway.ping(agent.address))) === 'agent-unreachable', {
        what: 'the agent to be missed',
      });
      const begin = performance.now();
      for (let call = 0; call < 5; call++) {
        expect(await rejectionCode(gateway.ping(agent.address))).to.equal('agent-unreachable');
      }
      expect(performance.now() - begin).to.be.lessThan(1_000);
      await agent.restart();
      await gateway.ping(agent.address);
    });

    it('breaks off calls and streams of an agent that dies', async () => {
      const agent = await makeAgent({ script: [neverReady(), hang('ping')] });
      const request = startRequest();
      await gateway.submitWork(agent.address, request);
      const watching = drain(gateway.watchWork(agent.address, keyOf(request)));
      const pinging = gateway.ping(agent.address);
      await waitFor(() => agent.openStreams.watchWork === 1, { what: 'the watch' });
      agent.goDown();
      expect(await rejectionCode(watching)).to.equal('agent-unreachable');
      expect(await rejectionCode(pinging)).to.equal('agent-unreachable');
    });

    it('keeps to the deadline when the peer accepts and then is silent, and leaves no socket behind', async () => {
      const sockets = new Set<Socket>();
      const silent = createServer(socket => {
        sockets.add(socket.resume().on('close', () => sockets.delete(socket)));
      });
      await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
      const bound = silent.address();
      const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
      for (const tls_mode of ['plaintext', 'insecure', 'pinned'] as const) {
        const address = addressAt(port, tls_mode);
        const begin = performance.now();
        expect(await rejectionCode(gateway.ping(address, { deadlineMs: 200 }))).to.equal('agent-timeout');
        expect(performance.now() - begin).to.be.within(150, 1_000);
      }
      await gateway.close();
      await waitFor(() => sockets.size === 0, { what: 'the sockets to be closed' });
      silent.close();
    });
  });

  it('gives up a connection that died without a word after one deadline, and needs no second', async () => {
    const agent = await makeAgent();
    const relay = await startForgetfulRelay(agent.port);
    const address = { ...agent.address, port: relay.port };
    await gateway.ping(address);
    relay.forgetConnections();
    expect(await rejectionCode(gateway.ping(address, { deadlineMs: 200 }))).to.equal('agent-timeout');
    await gateway.ping(address, { deadlineMs: 1_000 });
    await gateway.close();
    relay.close();
  });

  describe('errors', () => {
    it('passes on the agent’s reason, and never as if it concerned our own users', async () => {
      const cases: [ErrorCode, ErrorCode][] = [
        ['java-missing', 'java-missing'],
        ['disk-full', 'disk-full'],
        ['agent-unsupported', 'agent-unsupported'],
        ['unauthenticated', 'agent-refused'],
        ['forbidden', 'agent-refused'],
        ['internal', 'agent-failed'],
      ];
      const agent = await makeAgent();
      for (const [said, heard] of cases) {
        agent.script(refuse(said, { times: 1 }));
        expect(await rejectionCode(gateway.health(agent.address)), said).to.equal(heard);
      }
    });

    it('does work once whose reply is lost, and hears of it by asking again', async () => {
      const agent = await makeAgent({ script: [loseReply(2)] });
      const request = startRequest();
      expect(await rejectionCode(gateway.submitWork(agent.address, request))).to.equal('agent-unreachable');
      expect(await rejectionCode(gateway.submitWork(agent.address, request))).to.equal('agent-unreachable');
      const status = await gateway.submitWork(agent.address, request);
      expect(status.state).to.equal(WorkState.SUCCEEDED);
      expect(agent.effects.start[request.serverId]).to.equal(1);
    });

    it('leaves retries to its caller: an agent that fails twice is asked three times', async () => {
      const agent = await makeAgent({ script: [onStart({ failTimes: 2, thenReadyAfterMs: 50 })] });
      const request = startRequest();
      expect(await rejectionCode(gateway.submitWork(agent.address, request))).to.equal('agent-failed');
      expect(await rejectionCode(gateway.submitWork(agent.address, request))).to.equal('agent-failed');
      await gateway.submitWork(agent.address, request);
      const states = await drain(gateway.watchWork(agent.address, keyOf(request)));
      expect(states.at(-1)?.state).to.equal(WorkState.SUCCEEDED);
      expect(agent.calls.filter(({ method }) => method === 'submitWork')).to.have.lengthOf(3);
    });
  });

  it('tells the agent whose request it is', async () => {
    const agent = await makeAgent({ token: 'secret' });
    const request = startRequest();
    await gateway.submitWork(agent.address, request, { requestId: 'req-1 ü' });
    expect(agent.calls[0]?.metadata).to.include({
      'request-id': 'req-1 ?',
      'op-id': keyOf(request).opId,
      step: 'start',
      epoch: '1',
      authorization: 'Bearer secret',
    });
  });

  it('does not call at all with a signal that has fired', async () => {
    const agent = await makeAgent();
    expect(await rejectionCode(gateway.ping(agent.address, { signal: AbortSignal.abort() }))).to.equal(
      'cancelled',
    );
    expect(agent.calls).to.deep.equal([]);
  });

  describe('streams', () => {
    it('hang up when the reader stops, even one that waits for the next message', async () => {
      const agent = await makeAgent();
      const events = gateway.streamEvents(agent.address, nothingYet)[Symbol.asyncIterator]();
      await events.next();
      const waiting = events.next();
      await waitFor(() => agent.openStreams.streamEvents === 1, { what: 'the stream' });
      await events.return?.();
      expect(await waiting).to.deep.equal({ done: true, value: undefined });
      await waitFor(() => agent.openStreams.streamEvents === 0, { what: 'the agent to notice' });
    });

    it('slow the agent down to the reader’s pace', async () => {
      const agent = await makeAgent();
      const { serverId } = await boot(agent);
      const events = gateway.streamEvents(agent.address, nothingYet)[Symbol.asyncIterator]();
      await events.next();
      const line = 'x'.repeat(1_000);
      let emitted = 0;
      for (let round = 0; round < 300; round++) {
        agent.emit({ serverId, lines: Array.from({ length: 200 }, () => line) });
        emitted += 200;
        await new Promise(resolve => setImmediate(resolve));
      }
      let received = 0;
      let dropped = 0;
      await waitFor(
        async () => {
          for (const { event } of (await nextOf(events)).events) {
            if (event?.$case !== 'console') continue;
            received += event.console.lines.length;
            dropped += event.console.droppedBytes / (line.length + 1);
          }
          return received + dropped >= emitted;
        },
        { what: 'the end of the console', everyMs: 0 },
      );
      await events.return?.();
      expect(dropped, 'the agent had to let lines go').to.be.greaterThan(emitted / 2);
    });
  });

  describe('channels', () => {
    it('serves more agents than it keeps channels for, and cuts no stream short', async () => {
      await gateway.close();
      gateway = makeGateway({ maxChannels: 2 });
      const fleet = await Promise.all([makeAgent(), makeAgent(), makeAgent(), makeAgent()]);
      const [first] = fleet;
      first?.script(onStart({ thenReadyAfterMs: 300 }));
      const request = startRequest();
      if (first) await gateway.submitWork(first.address, request);
      const watching = first ? drain(gateway.watchWork(first.address, keyOf(request))) : Promise.resolve([]);
      for (const agent of [...fleet, ...fleet]) await gateway.ping(agent.address);
      expect((await watching).at(-1)?.state).to.equal(WorkState.SUCCEEDED);
    });

    it('follows an agent that moved to another port', async () => {
      const [from, to] = [await makeAgent({ id: 'agent-1' }), await makeAgent({ id: 'agent-1' })];
      await gateway.ping(from.address);
      await gateway.ping(to.address);
      expect(to.calls).to.have.lengthOf(1);
    });

    it('dials afresh after forget, while a stream of before goes on', async () => {
      const agent = await makeAgent();
      const events = gateway.streamEvents(agent.address, nothingYet)[Symbol.asyncIterator]();
      await events.next();
      gateway.forget(agent.address.id);
      await gateway.ping(agent.address);
      const { serverId } = await boot(agent);
      expect((await nextOf(events)).events[0]?.serverId).to.equal(serverId);
      await events.return?.();
    });

    it('ends everything in flight when it is closed, and takes no more', async () => {
      const agent = await makeAgent({ script: [hang('ping')] });
      const pinging = gateway.ping(agent.address);
      const listening = drain(gateway.streamEvents(agent.address, nothingYet));
      await waitFor(() => agent.openStreams.streamEvents === 1 && agent.calls.length === 2, { what: 'both' });
      await gateway.close();
      expect(await rejectionCode(pinging)).to.equal('shutting-down');
      expect(await rejectionCode(listening)).to.equal('shutting-down');
      expect(await rejectionCode(gateway.ping(agent.address))).to.equal('shutting-down');
    });
  });

  async function boot(agent: FakeAgent): Promise<WorkRequest> {
    const request = startRequest();
    await gateway.submitWork(agent.address, request);
    return request;
  }
});

const nothingYet = { afterSeq: 0, journalId: '', console: {}, samples: undefined };

function makeGateway(options: { maxChannels?: number } = {}): AgentGateway {
  return createGrpcGateway({ logger: pino({ level: 'silent' }), defaultDeadlineMs: 5_000, ...options });
}

/** Like a router that restarts: what was connected before hears nothing any more, what comes after works. */
async function startForgetfulRelay(target: number) {
  const sockets = new Set<Socket>();
  const server = createServer(client => {
    const upstream = connect(target, '127.0.0.1');
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => socket.destroy()));
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : 0,
    forgetConnections: () => sockets.forEach(socket => socket.unpipe().pause()),
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function addressAt(port: number, tls_mode: AgentAddress['tls_mode']): AgentAddress {
  const tls_fingerprint = 'ab'.repeat(32);
  return { id: randomUUID(), host: '127.0.0.1', port, tls_mode, tls_fingerprint, token: null };
}

function startRequest(): WorkRequest {
  return {
    key: { opId: randomUUID(), step: 'start' },
    serverId: randomUUID(),
    epoch: 1,
    opSeq: 1,
    undo: false,
    work: { $case: 'start', start: FAKE_START },
  };
}

function keyOf({ key }: WorkRequest) {
  return key ?? { opId: '', step: '' };
}

async function drain<T>(messages: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of messages) all.push(message);
  return all;
}

async function nextOf<T>(messages: AsyncIterator<T>): Promise<T> {
  const result = await messages.next();
  if (result.done) throw new Error('the stream has ended');
  return result.value;
}
