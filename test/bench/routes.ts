import { setTimeout as pause } from 'node:timers/promises';
import { row } from '#src/db/sql.js';
import { isObject } from '#src/http/jsonSchema.js';
import { startFakeAgent } from '#test/fakeAgent.js';
import { createRandom } from '#test/chaos/random.js';
import { fillPath, findPathValues, type Paths } from '#test/harness/apiPaths.js';
import type { ApiClient } from './lib/apiClient.js';
import { median, percentile, spreadOf, type Benchmark, type Figure } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';

const SERVERS = 50;
const REQUESTS_PER_S = 100;
const SECONDS = 60;
const SEED = 1;
const P95_MS = 25;
const WORST_MS = 100;
/** Writes whose documented example can be sent again and again. */
const REPEATABLE = ['POST /api/v1/notifications/read', 'POST /api/v1/servers/{id}/command'];
/** What required query parameters are given: a file that the writes have made. */
const QUERY: Readonly<Record<string, string>> = { path: 'server.properties' };

/**
 * An even mix of all routes at a steady rate, whatever the answers take. The routes are those of the OpenAPI document:
 * every GET whose path leads somewhere, and the writes that can be repeated without harm, so new routes join by themselves.
 */
export const routes: Benchmark = {
  name: 'routes',
  about: `every route of the API at ${REQUESTS_PER_S} requests/s together: p95 each`,
  async measure(say) {
    const agent = await startFakeAgent();
    const installation = await install();
    try {
      const [first = ''] = await installation.addServers(agent, SERVERS);
      await installation.start('app');
      await addHistory(installation);
      await installation.succeeded([(await installation.client.act(first, 'stop')).operation.id]);
      const { mix, leftOut } = await chooseRequests(installation.client);
      say(`${mix.length} routes; left out: ${leftOut.join(', ') || 'none'}`);
      await load(installation.client, mix, 5);
      for (const request of mix) request.tookMs.length = 0;
      await load(installation.client, mix, SECONDS);
      return figuresOf(mix);
    } finally {
      await installation.release();
      await agent.stop();
    }
  },
};

interface MixedRequest {
  name: string;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: unknown;
  tookMs: number[];
}

/** An hour of samples of every server and a long log, so that reads have something to read. */
async function addHistory({ db }: Installation): Promise<void> {
  await row(
    db,
    `WITH samples AS (
       INSERT INTO server_metrics (server_id, timestamp, cpu_percent, memory_used, players_online, tps, uptime_seconds)
       SELECT id, now() - n * interval '10 s', 20, 1073741824, 3, 20, 3600 FROM servers, generate_series(1, 360) AS n
       RETURNING 1
     ), lines AS (
       INSERT INTO logs (server_id, timestamp, level, source, message)
       SELECT id, now() - n * interval '1 s', 'INFO', 'Server thread', 'Steve joined the game'
       FROM servers, generate_series(1, 500) AS n
       RETURNING 1
     )
     SELECT 1 AS done`,
  );
}

/** Each is tried once: what does not succeed here has nothing to measure, and is named. */
async function chooseRequests(client: ApiClient): Promise<{ mix: MixedRequest[]; leftOut: string[] }> {
  const { body: document } = await client.send('GET', '/openapi.json');
  const paths = pathsOf(document);
  const mix: MixedRequest[] = [];
  const leftOut: string[] = [];
  for (const { template, method, operation } of writesFirst(paths)) {
    const values = await findPathValues(paths, template, {
      get: async path => {
        const { status, body } = await client.send('GET', path);
        return status === 200 ? body : undefined;
      },
      choose: rows => rows.at(-1),
    });
    const name = `${method.toUpperCase()} ${template}`;
    const request = values && harmless(name, method, operation);
    const path = fillPath(template, values ?? new Map()) + requiredQuery(operation);
    const answer = request && (await client.send(request.method, path, request.body, request.headers));
    if (request && answer && answer.status < 300) mix.push({ ...request, path, tookMs: [] });
    else leftOut.push(name);
  }
  return { mix, leftOut };
}

/** So that reads find what the writes have left. */
function writesFirst(paths: Paths): { template: string; method: string; operation: unknown }[] {
  const all = Object.entries(paths).flatMap(([template, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ template, method, operation })),
  );
  return all.toSorted((a, b) => Number(a.method === 'get') - Number(b.method === 'get'));
}

function requiredQuery(operation: unknown): string {
  const parameters: unknown = isObject(operation) ? operation['parameters'] : [];
  const query = new URLSearchParams();
  for (const parameter of Array.isArray(parameters) ? parameters.filter(isObject) : []) {
    const { name, required } = parameter;
    const value = parameter['in'] === 'query' && required === true ? QUERY[String(name)] : undefined;
    if (value !== undefined) query.set(String(name), value);
  }
  return query.size === 0 ? '' : `?${query.toString()}`;
}

/** Reads; changes of nothing; and actions under a key of their own, which happen once and are then only looked up. */
function harmless(
  name: string,
  method: string,
  operation: unknown,
): Omit<MixedRequest, 'path' | 'tookMs'> | undefined {
  if (!isObject(operation)) return undefined;
  const { requestBody, parameters } = operation;
  const upper = method.toUpperCase();
  if (method === 'get') return { name, method: upper, headers: {}, body: undefined };
  if (REPEATABLE.includes(name)) return { name, method: upper, headers: {}, body: exampleOf(requestBody) };
  if (isObject(requestBody) && requestBody['required'] === true) return undefined;
  if (method === 'put' && requestBody !== undefined) return { name, method: upper, headers: {}, body: {} };
  const isKeyed = JSON.stringify(parameters).includes('Idempotency-Key');
  if (method !== 'post' || !isKeyed) return undefined;
  return {
    name,
    method: upper,
    headers: { 'Idempotency-Key': `bench-${String(operation['operationId'])}` },
    body: {},
  };
}

function exampleOf(requestBody: unknown): unknown {
  const content = isObject(requestBody) ? requestBody['content'] : undefined;
  const json = isObject(content) ? content['application/json'] : undefined;
  return isObject(json) ? json['example'] : undefined;
}

function pathsOf(document: unknown): Paths {
  const paths = isObject(document) ? document['paths'] : undefined;
  if (!isObject(paths)) throw new Error('the API answered no OpenAPI document');
  return Object.fromEntries(
    Object.entries(paths).map(([path, methods]) => [path, isObject(methods) ? methods : {}]),
  );
}

/** Sends on time, also when earlier answers are still out. Rejects when any request is refused. */
async function load(client: ApiClient, mix: readonly MixedRequest[], seconds: number): Promise<void> {
  const began = performance.now();
  const under: Promise<void>[] = [];
  const random = createRandom(SEED);
  const round: MixedRequest[] = [];
  for (let n = 0; n < seconds * REQUESTS_PER_S; n++) {
    const wait = began + (n * 1000) / REQUESTS_PER_S - performance.now();
    if (wait > 0) await pause(wait);
    if (round.length === 0) round.push(...shuffled(mix, random));
    const request = round.pop();
    if (request) under.push(measure(client, request));
  }
  await Promise.all(under);
}

/** In a fixed order each would always pay for the same neighbour. */
function shuffled<T>(list: readonly T[], random: () => number): T[] {
  return list
    .map(item => ({ item, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}

async function measure(
  client: ApiClient,
  { name, method, path, body, headers, tookMs }: MixedRequest,
): Promise<void> {
  const answer = await client.send(method, path, body, headers);
  if (answer.status >= 300)
    throw new Error(`${name} answered ${answer.status} ${JSON.stringify(answer.body)}`);
  tookMs.push(answer.tookMs);
}

function figuresOf(mix: readonly MixedRequest[]): Figure[] {
  const each = mix.map(({ name, tookMs }): Figure => {
    const note = `p50 ${median(tookMs).toFixed(1)} ms, ${spreadOf(tookMs)}`;
    return {
      name: `${name}: p95`,
      value: percentile(tookMs, 0.95),
      unit: 'ms',
      aim: { atMost: P95_MS },
      note,
    };
  });
  const all = mix.flatMap(({ tookMs }) => tookMs);
  const whole: Figure[] = [
    { name: 'all routes together: p50', value: median(all), unit: 'ms' },
    { name: 'all routes together: p95', value: percentile(all, 0.95), unit: 'ms', aim: { atMost: P95_MS } },
    { name: 'the slowest answer of all', value: Math.max(...all), unit: 'ms', aim: { atMost: WORST_MS } },
  ];
  return [...each.toSorted((a, b) => b.value - a.value), ...whole];
}
