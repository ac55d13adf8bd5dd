import { expect } from 'chai';
import { buildAgent, TEST_PASSWORD } from '#test/build.js';
import { startTestApi, type TestApi } from '#test/harness/api.js';
import { connectApi, type Schema } from '#test/harness/apiClient.js';

/** What a user's own program sees of the API: it compiles against docs/generated/api.d.ts alone. */
describe('a client with the generated types', function () {
  this.timeout(20_000);
  let api: TestApi;
  before(async () => {
    api = await startTestApi();
    await buildAgent(api.db, { port: 1 });
  });
  after(() => api.close());

  it('registers, signs in, creates a server, starts it, and follows the operation', async () => {
    const guest = connectApi(api.url);
    const username = 'steve';
    const account = { username, email: 'steve@example.com', password: TEST_PASSWORD };
    const registered = await guest.POST('/api/v1/auth/register', { body: account });
    expect(registered.data?.role).to.equal('user');
    const login = await guest.POST('/api/v1/auth/login', { body: { username, password: TEST_PASSWORD } });

    const client = connectApi(api.url, login.data?.access_token);
    const created = await client.POST('/api/v1/servers', {
      body: { name: 'Survival', server_type: 'paper', version: '1.21.4', accept_eula: true },
    });
    const server: Schema<'Server'> | undefined = created.data;
    const { data: servers = [] } = await client.GET('/api/v1/servers', { params: { query: { limit: 5 } } });
    expect(servers.map(({ id, status }) => [id, status])).to.deep.equal([[server?.id, server?.status]]);

    const path = { id: server?.operation_id ?? '' };
    const { data: operation } = await client.GET('/api/v1/operations/{id}', { params: { path } });
    expect(operation).to.include({ kind: 'server.provision', server_id: server?.id });
  });

  it('gets refusals as problems, typed too', async () => {
    const { error, response } = await connectApi(api.url, 'not.a.token').GET('/api/v1/auth/me');
    const problem: Schema<'Problem'> | undefined = error;
    expect([response.status, problem?.code]).to.deep.equal([401, 'unauthenticated']);
  });
});
