import { randomUUID } from 'node:crypto';
import type { Metadata } from '@grpc/grpc-js';
import { expect } from 'chai';
import { Registry } from 'prom-client';
import {
  AgentServiceService,
  type PluginList,
  type PluginResponse,
  type ServerRequest,
} from '#proto/gen/agent.js';
import type { GrpcProxy } from '#src/grpcProxy/createGrpcProxy.js';
import { buildAgent } from '#test/build.js';
import { startFakeVersion1Agent, type FakeVersion1Agent } from '#test/fakeAgent/version1.js';
import { rowsOf, startTestApi, type ApiUser, type TestApi } from '#test/harness/api.js';
import { connectProxy, metadataOf, startTestProxy, type ProxyClient } from '#test/harness/proxyClient.js';
import { waitFor } from '#test/harness/waitFor.js';

describe('the gRPC proxy, to an agent of version 1', function () {
  this.timeout(20_000);
  let api: TestApi;
  let fake: FakeVersion1Agent;
  let admin: ApiUser;
  let proxy: GrpcProxy;
  let client: ProxyClient;
  let metadata: Metadata;
  const metrics = new Registry();

  before(async () => {
    [api, fake] = await Promise.all([startTestApi(), startFakeVersion1Agent({ stopMs: 50 })]);
    [admin, proxy] = await Promise.all([api.signUp({ role: 'admin' }), startTestProxy(api, { metrics })]);
    client = connectProxy(proxy.port);
    const { host: ip_address, port, tls_mode, work_dir } = fake.address;
    const { id } = await buildAgent(api.db, { ip_address, port, tls_mode, work_dir });
    metadata = metadataOf({ authorization: `Bearer ${admin.token}`, 'agent-id': id });
  });
  after(async () => {
    client.close();
    await proxy.close();
    await fake.stop();
    await api.close();
  });

  const metric = (name: string): Promise<string> => metrics.getSingleMetricAsString(name);

  it('sends nothing that ends it, blocks it, or takes lines from who reads a console', async () => {
    const bare = { serverId: randomUUID(), name: '', type: 'paper', version: '', config: undefined };
    const request = AgentServiceService.startServer.requestSerialize(bare);
    for (const rpc of ['startServer', 'stopServer', 'restartServer', 'streamLogs'] as const) {
      expect(await client.outcome(rpc, metadata, request), rpc).to.equal('UNIMPLEMENTED agent-unsupported');
    }
    expect(fake.isUp()).to.equal(true);
    expect(fake.calls).to.deep.equal([]);
    expect(rowsOf(await admin.send('GET /audit?action=agent.proxied-call'))).to.deep.equal([]);
  });

  it('says where to turn instead', async () => {
    const request: ServerRequest = { serverId: randomUUID() };
    const details = await new Promise<string>(resolve => {
      client.typed.stopServer(request, metadata, error => resolve(error?.details ?? ''));
    });
    expect(details).to.include('StopServer').and.include('/api/v1/servers');
  });

  it('passes all else on, and what an agent of version 1 does not know is its own to refuse', async () => {
    for (const rpc of ['ping', 'listServers', 'getSystemMetrics', 'listPlugins'] as const) {
      expect(await client.outcome(rpc, metadata), rpc).to.equal('OK');
    }
    expect(await client.outcome('hello', metadata)).to.equal('UNIMPLEMENTED');
  });

  it('installs, updates, lists and removes plugins, for which there is no other way yet', async () => {
    const serverId = randomUUID();
    const { typed } = client;
    const change = (send: (answer: (error: Error | null, response: PluginResponse) => void) => unknown) =>
      new Promise<PluginResponse>((resolve, reject) => {
        send((error, response) => (error ? reject(error) : resolve(response)));
      });
    const list = () =>
      new Promise<PluginList>((resolve, reject) => {
        const request = { serverId, includeDisabled: true };
        typed.listPlugins(request, metadata, (error, found) => (error ? reject(error) : resolve(found)));
      });
    const plugin = { serverId, pluginName: 'Essentials', downloadUrl: 'https://example.test/e.jar' };
    const installed = await change(answer =>
      typed.installPlugin({ ...plugin, fileName: '', version: '2.20', autoRestart: false }, metadata, answer),
    );
    expect(installed).to.include({ success: true });
    const updated = await change(answer =>
      typed.updatePlugin(
        { ...plugin, fileName: 'Essentials-2.21.jar', newVersion: '2.21', autoRestart: false },
        metadata,
        answer,
      ),
    );
    expect(updated).to.include({ success: true });
    expect((await list()).plugins.map(({ fileName }) => fileName)).to.deep.equal(['Essentials-2.21.jar']);
    const removal = { serverId, pluginName: 'Essentials-2.21', deleteConfig: false, deleteData: false };
    const remove = () =>
      change(answer => typed.uninstallPlugin({ ...removal, autoRestart: false }, metadata, answer));
    expect(await remove()).to.include({ success: true });
    expect(await remove(), 'a refusal is an answer').to.include({ success: false });
    expect((await list()).total).to.equal(0);
  });

  it('counts calls by method and status, and those under way', async () => {
    expect(await client.outcome('ping', metadataOf({}))).to.match(/^UNAUTHENTICATED/);
    const counted = await metric('grpc_proxy_calls_total');
    expect(counted).to.include('grpc_proxy_calls_total{method="Ping",status="UNAUTHENTICATED"} 1');
    expect(counted).to.include('grpc_proxy_calls_total{method="RestartServer",status="UNIMPLEMENTED"} 1');
    await waitFor(async () => (await metric('grpc_proxy_calls_open')).includes('{kind="unary"} 0'), {
      what: 'no call to be under way',
    });
  });
});
