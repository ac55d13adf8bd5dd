import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildOpenApi } from '#src/http/openApi.js';
import { isObject } from '#src/http/jsonSchema.js';
import { ROUTES } from '#src/http/routes.js';
import { buildAgent, buildOperation, buildServer } from '#test/build.js';
import { startFakeAgent } from '#test/fakeAgent.js';
import { startTestApi, textAt, type ApiUser, type Send, type TestApi } from '#test/harness/api.js';
import { findPathValues, type PathValues } from '#test/harness/apiPaths.js';
import { runSchemathesis, type FuzzRun } from './schemathesis.js';

/** Who may send requests: people of each role, nobody, and an agent with its own token. */
export const CALLERS = ['admin', 'user', 'viewer', 'nobody', 'agent'] as const;
export type Caller = (typeof CALLERS)[number];

export interface FuzzedApi {
  /** Resolves with the report; rejects with it when an answer was no good. */
  fuzz(caller: Caller, effort: FuzzEffort): Promise<string>;
  close(): Promise<void>;
}

export type FuzzEffort = Omit<FuzzRun, 'workFolder' | 'url' | 'token' | 'document'>;

/** Would end the session that the run lives on. */
const ENDS_THE_CALLER = new Set(['logout']);
/** No resource has it. */
const NOBODYS_ID = '00000000-0000-4000-8000-000000000000';
const EXAMPLE_AGENT = 'fra-12';
const SERVERS = 6;

/** The API with something of everything in it, an agent that answers, and one that does not and may be changed. */
export async function startFuzzedApi(): Promise<FuzzedApi> {
  const api = await startTestApi();
  const fake = await startFakeAgent();
  const { id, host, port, tls_mode } = fake.address;
  await buildAgent(api.db, { id, agent_id: 'z-answers', ip_address: host, port, tls_mode });
  await buildAgent(api.db, { agent_id: 'a-silent', port: 1 });
  return {
    async fuzz(caller, effort) {
      const admin = await api.signUp({ role: 'admin' });
      const { send, token, document } = await prepare(api, caller, admin, id);
      const workFolder = mkdtempSync(join(tmpdir(), 'aymc-fuzz-'));
      try {
        const report = await runSchemathesis({ ...effort, workFolder, url: api.url, token, document });
        if (token !== null && caller !== 'agent') await assertStillSignedIn(send);
        return report;
      } finally {
        rmSync(workFolder, { recursive: true, force: true });
      }
    },
    async close() {
      await fake.stop();
      await api.close();
    },
  };
}

interface Prepared {
  send: Send;
  token: string | null;
  document: unknown;
}

async function prepare(api: TestApi, caller: Caller, admin: ApiUser, agentId: string): Promise<Prepared> {
  if (caller === 'agent') {
    const agent_id = `fuzzed-${Date.now()}`;
    const created = await admin.send('POST /agents', {
      body: { agent_id, hostname: 'h', ip_address: '127.0.0.1' },
    });
    const token = textAt(created, 'agent_token');
    const document: unknown = JSON.parse(
      JSON.stringify(onlyRules(describe(), rule => rule === 'agent')).replaceAll(EXAMPLE_AGENT, agent_id),
    );
    return { send: api.send, token, document };
  }
  const person = caller === 'nobody' ? undefined : await api.signUp({ role: caller });
  const owner = person ?? admin;
  for (let i = 0; i < SERVERS; i++) {
    const server = await buildServer(api.db, { user_id: owner.id, agent_id: agentId });
    await buildOperation(api.db, { server_id: server.id, requested_by: owner.id });
  }
  const document = await withRealIds(describe(), person?.send ?? admin.send, owner.id);
  return { send: owner.send, token: person?.token ?? null, document };
}

function describe() {
  const document = buildOpenApi(ROUTES);
  const paths = Object.entries(document.paths).map(([path, methods]) => {
    const kept = Object.entries(methods).filter(
      ([, operation]) => !(isObject(operation) && ENDS_THE_CALLER.has(String(operation['operationId']))),
    );
    return [path, Object.fromEntries(kept)] as const;
  });
  return {
    ...document,
    paths: Object.fromEntries(paths.filter(([, methods]) => Object.keys(methods).length > 0)),
  };
}

type Described = ReturnType<typeof describe>;

function onlyRules(document: Described, isWanted: (rule: string) => boolean): Described {
  const paths = Object.entries(document.paths).filter(([, methods]) =>
    Object.values(methods).some(operation => isObject(operation) && isWanted(String(operation['x-rule']))),
  );
  return { ...document, paths: Object.fromEntries(paths) };
}

/** Each path parameter that names a row of a collection becomes a choice: one that exists, and one that does not. */
async function withRealIds(document: Described, send: Send, callerId: string): Promise<Described> {
  const get = async (path: string): Promise<unknown> => {
    const answer = await send(`GET /${path}`);
    return answer.status === 200 ? answer.body : undefined;
  };
  const paths: Described['paths'] = {};
  for (const [path, methods] of Object.entries(document.paths)) {
    const operations: Record<string, unknown> = {};
    for (const [method, operation] of Object.entries(methods)) {
      const values = await findPathValues(document.paths, path, {
        get,
        choose: chooserFor(method, callerId),
      });
      operations[method] = values && isObject(operation) ? withValues(operation, values) : operation;
    }
    paths[path] = operations;
  }
  return { ...document, paths };
}

/** Reads, changes and deletions each get a row of their own, so that none takes the others'. Never the caller itself. */
function chooserFor(method: string, callerId: string): PathValues['choose'] {
  return rows => {
    const others = rows.filter(row => row['id'] !== callerId && row['current'] !== true);
    if (method === 'get') return others.at(-1);
    return method === 'delete' ? (others[1] ?? others[0]) : others[0];
  };
}

function withValues(operation: Record<string, unknown>, values: ReadonlyMap<string, string>) {
  const parameters: unknown[] = Array.isArray(operation['parameters']) ? operation['parameters'] : [];
  return {
    ...operation,
    parameters: parameters.map(parameter => {
      if (!isObject(parameter) || parameter['in'] !== 'path') return parameter;
      const value = values.get(String(parameter['name']));
      return value === undefined
        ? parameter
        : { ...parameter, example: value, schema: { type: 'string', enum: [value, NOBODYS_ID] } };
    }),
  };
}

/** Otherwise all that followed was refused at the door and proves nothing. */
async function assertStillSignedIn(send: Send): Promise<void> {
  const { status } = await send('GET /auth/me');
  if (status !== 200)
    throw new Error('the run has ended its own session; choose its ids so that it does not');
}
