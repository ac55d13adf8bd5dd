import { expect } from 'chai';
import { buildAgent } from '#test/build.js';
import {
  objectOf,
  rowsOf,
  startTestApi,
  textAt,
  valueAt,
  type Send,
  type TestApi,
} from '#test/harness/api.js';

/**
 * The requests of the existing desktop client, as it sends them, and every field that it reads, with the type that it
 * expects. From the contract and not from our schemas: a field that goes missing or changes its type fails here.
 */

type Shape = Record<string, string>;

const USER: Shape = {
  id: 'string',
  username: 'string',
  email: 'string',
  role: 'string',
  is_active: 'boolean',
  created_at: 'time',
  updated_at: 'time',
  last_login: 'time?',
};

const SESSION: Shape = {
  token: 'string',
  access_token: 'string',
  refresh_token: 'string',
  token_type: 'string',
  expires_in: 'number',
  user: 'object',
};

const SERVER: Shape = {
  id: 'string',
  agent_id: 'string',
  user_id: 'string',
  name: 'string',
  display_name: 'string?',
  server_type: 'string',
  type: 'string',
  version: 'string',
  java_version: 'string?',
  port: 'number',
  max_players: 'number',
  status: 'string',
  installed: 'boolean',
  work_dir: 'string?',
  java_args: 'string?',
  auto_start: 'boolean',
  auto_restart: 'boolean',
  memory_min: 'number',
  memory_max: 'number',
  ram_min: 'number',
  ram_max: 'number',
  connect_address: 'string?',
  created_at: 'time',
  updated_at: 'time',
  last_started: 'time?',
  last_stopped: 'time?',
};

const AGENT: Shape = {
  id: 'string',
  agent_id: 'string',
  name: 'string',
  hostname: 'string',
  host: 'string',
  ip_address: 'string',
  port: 'number',
  status: 'string',
  version: 'string?',
  os: 'string?',
  cpu_cores: 'number?',
  memory_total: 'number?',
  disk_total: 'number?',
  last_seen: 'time?',
  health_check_interval: 'number',
  created_at: 'time',
  updated_at: 'time',
};

const OPERATION: Shape = {
  id: 'string',
  kind: 'string',
  state: 'string',
  server_id: 'string?',
  agent_id: 'string?',
  requested_by: 'string?',
  trigger: 'string',
  progress: 'object?',
  error: 'object?',
  workflow_id: 'string?',
  run_id: 'string?',
  created_at: 'time',
  started_at: 'time?',
  finished_at: 'time?',
};

function typeOf(value: unknown): string {
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return 'time';
  return value === null ? 'null' : typeof value;
}

function fits(value: unknown, wanted: string): boolean {
  const type = typeOf(value);
  const bare = wanted.replace('?', '');
  return type === bare || (bare === 'string' && type === 'time') || (wanted.endsWith('?') && type === 'null');
}

/** Of the body of an answer, or of one row of it. */
function expectShape(object: Record<string, unknown>, shape: Shape): void {
  const wrong = Object.entries(shape).filter(([field, wanted]) => !fits(object[field], wanted));
  expect(wrong.map(([field, wanted]) => `${field}: ${wanted}, got ${typeOf(object[field])}`)).to.deep.equal(
    [],
  );
}

describe('the existing desktop client', function () {
  this.timeout(20_000);
  const origin = 'tauri://localhost';
  const password = 'hunter2hunter2';
  let api: TestApi;
  let send: Send;
  let agentId = '';
  let serverId = '';
  before(async () => {
    api = await startTestApi({
      corsOrigins: ['http://localhost:1420', origin, 'http://tauri.localhost', 'https://tauri.localhost'],
    });
    agentId = (await buildAgent(api.db)).id;
  });
  after(() => api.close());

  it('registers, signs in by e-mail in the field `email` or `username`, and reads itself', async () => {
    const account = { username: 'steve', email: 'steve@example.test', password };
    const registered = await api.send('POST /auth/register', { body: account });
    expect(registered.status).to.equal(201);
    expectShape(objectOf(registered), USER);
    for (const login of [
      { username: 'steve' },
      { email: 'steve@example.test' },
      { username: 'steve@example.test' },
    ]) {
      const session = await api.send('POST /auth/login', { body: { ...login, password } });
      expect(session.status).to.equal(200);
      expectShape(objectOf(session), SESSION);
      expectShape(rowsOf({ ...session, body: [valueAt(session, 'user')] })[0] ?? {}, USER);
      const token = textAt(session, 'token');
      send = (route, call) => api.send(route, { ...call, token });
    }
    const me = await send('GET /auth/me');
    expectShape(objectOf(me), USER);
    expect((await send('PUT /auth/me', { body: me.body })).status).to.equal(200);
  });

  it('reads its errors as a text in `error`, and any 401 as the end of the session', async () => {
    const wrong = await api.send('POST /auth/login', { body: { username: 'steve', password: 'not it' } });
    expect(wrong.status).to.equal(401);
    expect(valueAt(wrong, 'error')).to.be.a('string');
    const wrongPassword = { current_password: 'not it', new_password: 'another one' };
    const refused = await send('POST /auth/change-password', { body: wrongPassword });
    expect(refused.status).to.equal(400);
  });

  it('lists agents and servers as bare arrays', async () => {
    const agents = await send('GET /agents');
    for (const agent of rowsOf(agents)) expectShape(agent, AGENT);
    expect(rowsOf(agents)).to.have.length(1);
    expect((await send('GET /servers')).body).to.deep.equal([]);
  });

  it('creates a server with its own names of the fields', async () => {
    const body = {
      name: 'My server',
      type: 'paper',
      version: '1.21.4',
      agent_id: agentId,
      ram_min: 1024,
      ram_max: 2048,
    };
    const created = await send('POST /servers', { body });
    expect(created.status).to.equal(201);
    expectShape(objectOf(created), SERVER);
    serverId = textAt(created, 'id');
    for (const server of rowsOf(await send('GET /servers'))) expectShape(server, SERVER);
    expectShape(objectOf(await send(`GET /servers/${serverId}`)), SERVER);
  });

  it('puts back the whole object that it got, with a change under either name', async () => {
    const got = objectOf(await send(`GET /servers/${serverId}`));
    for (const change of [{ ram_max: 3072 }, { memory_max: 4096 }, { type: 'purpur' }]) {
      const answer = await send(`PUT /servers/${serverId}`, { body: { ...got, ...change } });
      expect(answer.status).to.equal(200);
      expect(answer.body).to.include(change);
      Object.assign(got, answer.body);
    }
  });

  for (const verb of ['start', 'stop', 'restart']) {
    it(`asks for a ${verb} without a body and gets an operation`, async () => {
      await api.db.models.Server.update({ installed: true, accept_eula: true }, { where: { id: serverId } });
      const answer = await send(`POST /servers/${serverId}/${verb}`);
      expect(answer.status).to.equal(202);
      expectShape(objectOf(answer), OPERATION);
    });
  }

  it('may call from its own origins', async () => {
    const preflight = (from: string) =>
      api.send('OPTIONS /servers', {
        headers: {
          origin: from,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      });
    for (const from of [
      'http://localhost:1420',
      origin,
      'http://tauri.localhost',
      'https://tauri.localhost',
    ]) {
      const { status, headers } = await preflight(from);
      expect(status).to.equal(204);
      expect(headers.get('access-control-allow-origin')).to.equal(from);
      expect(headers.get('access-control-allow-headers')).to.match(/authorization/i);
    }
    const { headers } = await preflight('https://evil.example');
    expect(headers.get('access-control-allow-origin')).to.satisfy((it: string | null) => !it);
  });
});
