import { createHash, randomBytes } from 'node:crypto';
import { once, type EventEmitter } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  status,
  type ClientReadableStream,
  type Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
} from '@grpc/grpc-js';
import {
  AgentServiceService,
  type DownloadChunk,
  type EventBatch,
  type PongResponse,
  type UploadedFile,
} from '#proto/gen/agent.js';
import type { GrpcProxy, GrpcProxyOptions } from '#src/grpcProxy/createGrpcProxy.js';
import { buildAgent, buildServer } from '#test/build.js';
import { startAgentProcess, type AgentProcess } from '#test/harness/agentProcess.js';
import { rowsOf, startTestApi, textAt, type ApiUser, type TestApi } from '#test/harness/api.js';
import {
  asIs,
  connectProxy,
  metadataOf,
  outcomeOf,
  startBytesAgent,
  startTestProxy,
  type BytesAgent,
  type ProxyClient,
} from '#test/harness/proxyClient.js';
import { waitFor } from '#test/harness/waitFor.js';

const CHUNK = 256 * 1024;
const MIB = 1024 * 1024;

const failureOf = (call: EventEmitter): Promise<ServiceError> =>
  new Promise(resolve => call.once('error', resolve));
const firstOf = <T>(call: ClientReadableStream<T>): Promise<T> =>
  new Promise(resolve => call.once('data', resolve));

describe('the gRPC proxy', function () {
  this.timeout(60_000);
  let api: TestApi;
  let agent: AgentProcess;
  let admin: ApiUser;
  let user: ApiUser;
  let agentId: string;
  let serverId: string;
  let proxy: GrpcProxy;
  let client: ProxyClient;
  const closing: (() => void | Promise<void>)[] = [];

  /** Another proxy and a client of it, closed after the test. */
  async function anotherProxy(limits: GrpcProxyOptions['limits'] = {}): Promise<[GrpcProxy, ProxyClient]> {
    const other = await startTestProxy(api, { limits });
    const itsClient = connectProxy(other.port);
    closing.push(() => other.close(), itsClient.close);
    return [other, itsClient];
  }

  /** An agent of the test's own making; answers its row's id. */
  async function scripted(handlers: Parameters<typeof startBytesAgent>[0]): Promise<string> {
    const started: BytesAgent = await startBytesAgent(handlers);
    closing.push(started.close);
    return (await buildAgent(api.db, { port: started.port, tls_mode: 'plaintext', token: 'its-token' })).id;
  }

  const as = (who: ApiUser | string, more: Record<string, string> = {}): Metadata =>
    metadataOf({ authorization: `Bearer ${typeof who === 'string' ? who : who.token}`, ...more });

  before(async () => {
    [api, agent] = await Promise.all([startTestApi(), startAgentProcess()]);
    [admin, user, proxy] = await Promise.all([
      api.signUp({ role: 'admin' }),
      api.signUp(),
      startTestProxy(api),
    ]);
    client = connectProxy(proxy.port);
    const { agentId: agent_id, host, port, token } = agent;
    const row = { agent_id, ip_address: host, port, tls_mode: 'plaintext' as const, token };
    agentId = (await buildAgent(api.db, row)).id;
    serverId = (await buildServer(api.db, { user_id: user.id, agent_id: agentId })).id;
    await mkdir(join(agent.workDir, serverId));
  });
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });
  after(async () => {
    client.close();
    await proxy.close();
    await agent.stop();
    await api.close();
  });

  const ping = (metadata: Metadata, through = client): Promise<PongResponse> =>
    new Promise((resolve, reject) => {
      through.typed.ping({}, metadata, (error, pong) => (error ? reject(error) : resolve(pong)));
    });

  /** What comes of an upload of so many chunks; resolves with the agent's answer, and the hash of what was sent. */
  async function upload(path: string, chunks: number, metadata: Metadata) {
    const hash = createHash('sha256');
    let answered: (answer: UploadedFile | ServiceError) => void = () => undefined;
    const answer = new Promise<UploadedFile | ServiceError>(resolve => (answered = resolve));
    const call = client.typed.uploadFile(metadata, (error, stored) => answered(error ?? stored));
    const begin = { file: { serverId, path }, createFolders: true, expected: undefined };
    call.write({ part: { $case: 'begin', begin } });
    for (let sent = 0; sent < chunks; sent += 1) {
      const data = randomBytes(CHUNK);
      hash.update(data);
      if (!call.write({ part: { $case: 'data', data } })) await once(call, 'drain');
    }
    call.write({ part: { $case: 'end', end: { sizeBytes: chunks * CHUNK } } });
    call.end();
    return { answer: await answer, sha256: hash.digest('hex') };
  }

  describe('to a real agent', () => {
    it('finds it by the id of its row, by its name, and by a server of the caller', async () => {
      expect((await ping(as(user, { 'agent-id': agentId }))).message).to.equal('pong');
      expect((await ping(as(user, { 'agent-id': agent.agentId }))).message).to.equal('pong');
      expect((await ping(as(user, { 'server-id': serverId }))).message).to.equal('pong');
    });

    it('carries the request id into its log', async () => {
      await ping(as(user, { 'agent-id': agentId, 'request-id': 'told-by-the-client' }));
      await waitFor(() => agent.logs().includes('told-by-the-client'), { what: 'the agent to log the id' });
    });

    it('passes a stream of answers on, until the client has enough', async () => {
      const call = client.typed.streamEvents(
        { afterSeq: 0, journalId: '', console: {}, samples: undefined },
        as(admin, { 'agent-id': agentId }),
      );
      const ended = failureOf(call);
      const batch: EventBatch = await firstOf(call);
      expect(batch.journalId).not.to.equal('');
      call.cancel();
      expect((await ended).code).to.equal(status.CANCELLED);
    });

    it('moves a file of 48 MiB in both directions, byte for byte', async () => {
      const metadata = as(admin, { 'agent-id': agentId });
      const { answer, sha256 } = await upload('world/big.bin', 192, metadata);
      expect(answer).to.have.property('sha256', sha256);
      const hash = createHash('sha256');
      let size = 0;
      const file = { serverId, path: 'world/big.bin' };
      const down: AsyncIterable<DownloadChunk> = client.typed.downloadFile(
        { file, offset: 0, length: 0 },
        metadata,
      );
      for await (const { chunk } of down) {
        if (chunk?.$case !== 'data') continue;
        hash.update(chunk.data);
        size += chunk.data.length;
      }
      expect([size, hash.digest('hex')]).to.deep.equal([48 * MIB, sha256]);
    });

    it('tells its refusals with its own words and reason', async () => {
      const { answer } = await upload('../escaped', 1, as(admin, { 'agent-id': agentId }));
      expect(answer instanceof Error && outcomeOf(answer)).to.equal('INVALID_ARGUMENT invalid-path');
    });

    it('records what changes something, and not what only looks', async () => {
      const metadata = as(admin, { 'server-id': serverId, 'request-id': 'recorded-once' });
      await new Promise<void>((resolve, reject) => {
        client.typed.makeFolder({ serverId, path: 'made' }, metadata, error =>
          error ? reject(error) : resolve(),
        );
      });
      await ping(metadata);
      const listed = rowsOf(await admin.send('GET /audit?action=agent.proxied-call'));
      expect(listed.filter(({ request_id }) => request_id === 'recorded-once')).to.have.length(1);
      expect(listed[0]).to.deep.include({
        actor_id: admin.id,
        target_type: 'agent',
        target_id: agentId,
        ip_address: '127.0.0.1',
        data: { method: 'MakeFolder', server_id: serverId },
      });
    });
  });

  describe('lets in', () => {
    it('nobody without a token that is good', async () => {
      const here = { 'agent-id': agentId };
      expect(await client.outcome('ping', metadataOf(here))).to.equal('UNAUTHENTICATED unauthenticated');
      expect(await client.outcome('ping', as('a.b.c', here))).to.equal('UNAUTHENTICATED unauthenticated');
      expect(await client.outcome('ping', as('aymc_unknown', here))).to.equal(
        'UNAUTHENTICATED unauthenticated',
      );
    });

    it('only administrators to what names a server in its request, were it the caller’s own', async () => {
      const mine = as(user, { 'server-id': serverId });
      for (const rpc of ['stopServer', 'sendCommand', 'readFile', 'streamLogs', 'submitWork'] as const) {
        expect(await client.outcome(rpc, mine), rpc).to.equal('PERMISSION_DENIED forbidden');
      }
      const denied = rowsOf(await admin.send('GET /audit?action=access.denied'));
      const tried = denied.map(({ data }) => data);
      expect(tried).to.deep.include({ method: 'gRPC', route: '/agent.AgentService/StopServer' });
    });

    it('nobody to the server of another, which is as if it were not there', async () => {
      const stranger = await api.signUp();
      const other = as(stranger, { 'server-id': serverId });
      expect(await client.outcome('ping', other)).to.equal('NOT_FOUND not-found');
      expect(await client.outcome('ping', as(stranger, { 'server-id': 'no-uuid' }))).to.equal(
        'NOT_FOUND not-found',
      );
      expect(await client.outcome('ping', as(user, { 'agent-id': 'nobody' }))).to.equal(
        'NOT_FOUND not-found',
      );
    });

    it('a key only to what it was made for', async () => {
      const make = async (scopes: string[]) =>
        textAt(await admin.send('POST /auth/api-keys', { body: { name: 'a key', scopes } }), 'key');
      const here = { 'agent-id': agentId };
      const [reads, all] = [await make(['read', 'power']), await make(['admin'])];
      expect(await client.outcome('ping', as(reads, here))).to.equal('OK');
      const refused = await client.outcome('inspectServers', as(reads, here));
      expect(refused).to.equal('PERMISSION_DENIED insufficient-scope');
      expect(await client.outcome('inspectServers', as(all, here))).to.equal('OK');
    });

    it('no call that names no agent, or two', async () => {
      expect(await client.outcome('ping', as(user))).to.equal('INVALID_ARGUMENT invalid-request');
      const both = as(user, { 'agent-id': agentId, 'server-id': serverId });
      expect(await client.outcome('ping', both)).to.equal('INVALID_ARGUMENT invalid-request');
    });

    it('a call for no longer than its sender may make it', async () => {
      const [, itsClient] = await anotherProxy({ recheckMs: 50 });
      const demoted = await api.signUp({ role: 'admin' });
      const call = itsClient.typed.streamEvents(
        { afterSeq: 0, journalId: '', console: {}, samples: undefined },
        as(demoted, { 'agent-id': agentId }),
      );
      const ended = failureOf(call);
      await firstOf(call);
      call.resume();
      await api.db.models.User.update({ role: 'user' }, { where: { id: demoted.id } });
      api.identities.forgetUser(demoted.id);
      expect((await ended).details).to.equal('Only administrators may call that');
    });

    it('so many calls of one user at once, and again when one has ended', async () => {
      const hanging = await scripted({ ping: () => undefined });
      const [, itsClient] = await anotherProxy({ perUser: 2 });
      const metadata = as(user, { 'agent-id': hanging });
      const calls = [1, 2].map(() => itsClient.typed.ping({}, metadata, () => undefined));
      const full = 'RESOURCE_EXHAUSTED rate-limited';
      const here = as(user, { 'agent-id': agentId });
      await waitFor(async () => (await itsClient.outcome('ping', here)) === full, {
        what: 'both to be counted',
      });
      expect(await itsClient.outcome('ping', as(admin, { 'agent-id': agentId }))).to.equal('OK');
      for (const call of calls) call.cancel();
      await waitFor(async () => (await itsClient.outcome('ping', here)) === 'OK', { what: 'a free place' });
    });
  });

  describe('passes on', () => {
    it('bytes it does not understand, metadata and trailers, and puts the agent’s token for the caller’s', async () => {
      let seen: Record<string, unknown> = {};
      const id = await scripted({
        ping(call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
          seen = call.metadata.getMap();
          call.sendMetadata(metadataOf({ 'from-agent': 'first' }));
          callback(null, Buffer.concat([call.request, call.request]), metadataOf({ 'from-agent': 'last' }));
        },
      });
      const request = randomBytes(5_000);
      const metadata = as(user, { 'agent-id': id, traceparent: '00-aa-bb-01', 'x-of-mine': 'kept' });
      metadata.set('x-of-mine-bin', Buffer.from([0, 255, 7]));
      const heard: string[] = [];
      const answer = await new Promise<Buffer | undefined>((resolve, reject) => {
        const { path } = AgentServiceService.ping;
        const call = client.bytes.makeUnaryRequest(path, asIs, asIs, request, metadata, (error, bytes) =>
          error ? reject(error) : resolve(bytes),
        );
        call.on('metadata', received => heard.push(String(received.get('from-agent'))));
        call.on('status', ({ metadata: trailers }) => heard.push(String(trailers.get('from-agent'))));
      });
      expect(answer?.equals(Buffer.concat([request, request]))).to.equal(true);
      await waitFor(() => heard.length === 2, { what: 'the trailers' });
      expect(heard).to.deep.equal(['first', 'last']);
      expect(seen).to.deep.include({
        authorization: 'Bearer its-token',
        traceparent: '00-aa-bb-01',
        'x-of-mine': 'kept',
        'x-of-mine-bin': Buffer.from([0, 255, 7]),
      });
      expect(seen)
        .to.have.property('request-id')
        .that.matches(/^[0-9a-f-]{36}$/);
      expect(seen).not.to.have.any.keys('agent-id', 'server-id');
    });

    it('a status of the agent’s own, with its details and trailers', async () => {
      const id = await scripted({
        ping(_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
          const metadata = metadataOf({ 'why-not': 'no wish' });
          callback({ code: status.FAILED_PRECONDITION, details: 'nicht jetzt, später', metadata });
        },
      });
      const error = await ping(as(user, { 'agent-id': id })).catch((thrown: ServiceError) => thrown);
      expect(error).to.include({ code: status.FAILED_PRECONDITION, details: 'nicht jetzt, später' });
      expect(error)
        .to.have.property('metadata')
        .that.satisfies((m: Metadata) => m.get('why-not')[0] === 'no wish');
    });

    it('the time that is left, and a limit to calls without one', async () => {
      const left: number[] = [];
      const id = await scripted({
        ping(call: ServerUnaryCall<Buffer, Buffer>) {
          left.push(Number(call.getDeadline()) - Date.now());
        },
      });
      const [, itsClient] = await anotherProxy({ unaryMs: 1_000 });
      const metadata = as(user, { 'agent-id': id });
      const short = await new Promise<ServiceError | null>(resolve => {
        itsClient.typed.ping({}, metadata, { deadline: Date.now() + 400 }, resolve);
      });
      expect(outcomeOf(short)).to.match(/^DEADLINE_EXCEEDED/);
      expect(await itsClient.outcome('ping', metadata)).to.equal('DEADLINE_EXCEEDED agent-timeout');
      expect(left[0]).to.be.within(1, 400);
      expect(left[1]).to.be.within(401, 1_000);
    });

    it('that the client has hung up', async () => {
      let arrived = false;
      let isCancelled = false;
      const id = await scripted({
        watchWork(call: ServerWritableStream<Buffer, Buffer>) {
          arrived = true;
          call.on('cancelled', () => (isCancelled = true));
        },
      });
      const call = client.typed.watchWork({ opId: 'o', step: 's' }, as(admin, { 'agent-id': id }));
      call.on('error', () => undefined);
      await waitFor(() => arrived, { what: 'the call to arrive' });
      call.cancel();
      await waitFor(() => isCancelled, { what: 'the agent to hear of it' });
    });

    it('no more than a slow client takes', async () => {
      const total = 256;
      let sent = 0;
      const id = await scripted({
        downloadFile(call: ServerWritableStream<Buffer, Buffer>) {
          const chunk = randomBytes(CHUNK);
          const next = (): void => {
            if (sent === total) return void call.end();
            sent += 1;
            call.write(chunk, next);
          };
          next();
        },
      });
      const metadata = as(admin, { 'agent-id': id });
      const { path } = AgentServiceService.downloadFile;
      const call = client.bytes.makeServerStreamRequest(path, asIs, asIs, Buffer.alloc(0), metadata);
      await once(call, 'readable');
      for (let turn = 0; turn < 50; turn += 1) await ping(as(user, { 'agent-id': agentId }));
      // 16 lie in the client's own stream; a window's worth each on two connections, and one in the proxy.
      expect(sent).to.be.below(64);
      let received = 0;
      for await (const chunk of call) received += Buffer.isBuffer(chunk) ? chunk.length : 0;
      expect([received, sent]).to.deep.equal([total * CHUNK, total]);
    });

    it('no more than a slow agent takes', async () => {
      const total = 256;
      let received = 0;
      let read: () => void = () => undefined;
      const id = await scripted({
        uploadFile(call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
          read = () => call.on('data', (chunk: Buffer) => (received += chunk.length));
          call.on('end', () => callback(null, Buffer.alloc(0)));
        },
      });
      const { path } = AgentServiceService.uploadFile;
      const metadata = as(admin, { 'agent-id': id });
      let taken = 0;
      const answered = new Promise<string>(resolve => {
        const call = client.bytes.makeClientStreamRequest(path, asIs, asIs, metadata, error =>
          resolve(outcomeOf(error)),
        );
        const chunk = randomBytes(CHUNK);
        for (let n = 0; n < total; n += 1) call.write(chunk, () => (taken += 1));
        call.end();
      });
      await waitFor(() => taken > 0, { what: 'the first chunk to be taken' });
      for (let turn = 0; turn < 50; turn += 1) await ping(as(user, { 'agent-id': agentId }));
      expect(taken).to.be.below(64);
      read();
      expect([await answered, received]).to.deep.equal(['OK', total * CHUNK]);
    });

    it('no message above 10 MiB, in neither direction', async () => {
      const id = await scripted({
        ping(_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
          callback(null, Buffer.alloc(10 * MIB + 1));
        },
        healthCheck(call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
          callback(null, call.request);
        },
      });
      const metadata = as(user, { 'agent-id': id });
      const large = Buffer.alloc(10 * MIB + 1);
      expect(await client.outcome('healthCheck', metadata, large)).to.match(/^RESOURCE_EXHAUSTED/);
      expect(await client.outcome('ping', metadata)).to.match(/^RESOURCE_EXHAUSTED/);
    });

    it('nothing to an agent that is not there', async () => {
      const gone = await scripted({});
      for (const close of closing.splice(0)) await close();
      const outcome = await client.outcome('ping', as(user, { 'agent-id': gone }));
      expect(outcome).to.equal('UNAVAILABLE agent-unreachable');
    });

    it('that an agent has died in the middle', async () => {
      const id = await scripted({
        streamEvents(call: ServerDuplexStream<Buffer, Buffer>) {
          call.write(Buffer.alloc(0));
        },
      });
      const call = client.typed.streamEvents(
        { afterSeq: 0, journalId: '', console: {}, samples: undefined },
        as(admin, { 'agent-id': id }),
      );
      const ended = failureOf(call);
      await firstOf(call);
      for (const close of closing.splice(0)) await close();
      expect((await ended).code).to.be.oneOf([status.CANCELLED, status.UNAVAILABLE]);
    });
  });

  it('does not know methods that the protocol does not have', async () => {
    const outcome = await new Promise<string>(resolve => {
      const unknown = '/agent.AgentService/Explode';
      const metadata = as(admin, { 'agent-id': agentId });
      client.bytes.makeUnaryRequest(unknown, asIs, asIs, Buffer.alloc(0), metadata, error =>
        resolve(outcomeOf(error)),
      );
    });
    expect(outcome).to.equal('UNIMPLEMENTED');
  });

  it('closes when what is under way has ended, and ends what will not', async () => {
    const [other, itsClient] = await anotherProxy();
    const call = itsClient.typed.streamEvents(
      { afterSeq: 0, journalId: '', console: {}, samples: undefined },
      as(admin, { 'agent-id': agentId }),
    );
    const ended = failureOf(call);
    await firstOf(call);
    call.resume();
    await other.close();
    expect((await ended).details).to.equal('The process is shutting down');
  });

  it('keeps the file that was uploaded', async () => {
    const { answer, sha256 } = await upload('kept.bin', 4, as(admin, { 'server-id': serverId }));
    const stored = await readFile(join(agent.workDir, serverId, 'kept.bin'));
    expect(createHash('sha256').update(stored).digest('hex')).to.equal(sha256);
    expect(answer).to.have.property('sha256', sha256);
  });
});
