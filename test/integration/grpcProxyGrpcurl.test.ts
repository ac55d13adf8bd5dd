import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { GrpcProxy } from '#src/grpcProxy/createGrpcProxy.js';
import { buildAgent, buildServer } from '#test/build.js';
import { selfSigned } from '#test/fakeAgent/certificate.js';
import { startAgentProcess, type AgentProcess } from '#test/harness/agentProcess.js';
import { startTestApi, textAt, type ApiUser, type TestApi } from '#test/harness/api.js';
import { findGrpcurl, runGrpcurl } from '#test/harness/grpcurl.js';
import { startTestProxy } from '#test/harness/proxyClient.js';

/** A client that shares no code with us: another language, another gRPC, and the protocol from its file. */
describe('grpcurl through the gRPC proxy', function () {
  this.timeout(60_000);
  let program: string;
  let api: TestApi;
  let agent: AgentProcess;
  let user: ApiUser;
  let key: string;
  let serverId: string;
  let proxy: GrpcProxy;
  let folder: string;

  before(async function () {
    this.timeout(360_000);
    try {
      program = await findGrpcurl();
    } catch (error) {
      process.stderr.write(`skipped: grpcurl needs Go and a module proxy (${String(error)})\n`);
      this.skip();
    }
    const { cert, key: privateKey } = selfSigned();
    folder = await mkdtemp(join(tmpdir(), 'aymc-grpcurl-'));
    await writeFile(join(folder, 'ca.pem'), cert);
    [api, agent] = await Promise.all([startTestApi(), startAgentProcess()]);
    proxy = await startTestProxy(api, { tls: { cert, key: privateKey } });
    const admin = await api.signUp({ role: 'admin' });
    user = await api.signUp();
    key = textAt(
      await admin.send('POST /auth/api-keys', { body: { name: 'ci', scopes: ['admin', 'read'] } }),
      'key',
    );
    const { agentId: agent_id, host, port, token } = agent;
    const row = await buildAgent(api.db, { agent_id, ip_address: host, port, tls_mode: 'plaintext', token });
    serverId = (await buildServer(api.db, { user_id: user.id, agent_id: row.id })).id;
    await mkdir(join(agent.workDir, serverId));
  });
  after(async () => {
    await proxy?.close();
    await agent?.stop();
    await api?.close();
    if (folder !== undefined) await rm(folder, { recursive: true });
  });

  const call = (rpc: string, token: string, messages: readonly object[] = [{}]): Promise<string> =>
    runGrpcurl({
      program,
      port: proxy.port,
      caFile: join(folder, 'ca.pem'),
      headers: { authorization: `Bearer ${token}`, 'server-id': serverId },
      rpc,
      messages,
    });
  const complaint = (outcome: Promise<string>): Promise<string> => outcome.catch(String);

  it('pings the agent of a server with a token, and reads what an administrator may with an API key', async () => {
    expect(JSON.parse(await call('Ping', user.token))).to.have.property('message', 'pong');
    expect(JSON.parse(await call('Hello', key))).to.have.property('agentId', agent.agentId);
  });

  it('streams a file up, and down again', async () => {
    const content = Buffer.from('motd=from grpcurl\n').toString('base64');
    const file = { serverId, path: 'by/grpcurl.txt' };
    const parts = [{ begin: { file, createFolders: true } }, { data: content }, { end: { sizeBytes: 18 } }];
    expect(JSON.parse(await call('UploadFile', key, parts))).to.have.nested.property('facts.sizeBytes', '18');
    expect(await call('DownloadFile', key, [{ file }])).to.include(content);
  });

  it('is told statuses of the agent, and of the proxy', async () => {
    const work = [{ opId: 'unknown', step: 'start' }];
    expect(await complaint(call('WatchWork', key, work))).to.match(/Code: NotFound/);
    expect(await complaint(call('StopServer', user.token, [{ serverId }]))).to.match(
      /Code: PermissionDenied\s+Message: Only administrators may call that/,
    );
    expect(await complaint(call('Ping', 'no-token'))).to.match(/Code: Unauthenticated/);
  });
});
