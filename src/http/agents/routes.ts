import type { Transaction } from 'sequelize';
import { appendAudit, type AuditEntry } from '#src/db/audit.js';
import type { Database } from '#src/db/connect.js';
import { readAgentHistory } from '#src/db/metricsHistory.js';
import { inTransaction } from '#src/db/sql.js';
import { newToken } from '#src/security/tokens.js';
import { BASE } from '../context.js';
import { idParams } from '../fields.js';
import { admins, signedIn } from '../gates.js';
import { METRICS_DESCRIPTION, metricsQuery, readRange } from '../metricsRange.js';
import { accepted, OPERATION_HEADERS } from '../operations/presenter.js';
import { operation } from '../operations/schema.js';
import { LIST_HEADERS, pageHeaders, readPage, UNPAGED_SIZE } from '../paging.js';
import { defineRoute, type Route } from '../route.js';
import { AGENT_FAILURES, checkHealth, readMetrics } from './live.js';
import { presentAgent, presentHistoryPoint } from './presenter.js';
import {
  countAgents,
  deleteAgent,
  findAgent,
  insertAgent,
  listAgents,
  setMaintenance,
  updateAgent,
} from './queries.js';
import * as schema from './schema.js';

const tag = 'agents';

const list = defineRoute({
  operationId: 'listAgents',
  method: 'GET',
  path: '/agents',
  tag,
  summary: 'The hosts that run servers',
  description: `Without any paging parameter up to ${UNPAGED_SIZE}.`,
  auth: signedIn,
  query: schema.list,
  success: { status: 200, schema: schema.agents, headers: LIST_HEADERS },
  async handler({ query, url }, { db, settings }) {
    const page = readPage(query, UNPAGED_SIZE);
    const found = await listAgents(db, query, page);
    const body = found.rows.map(agent => presentAgent(agent, settings));
    return { body, headers: pageHeaders(url, page, found.total) };
  },
});

const stats = defineRoute({
  operationId: 'readAgentStats',
  method: 'GET',
  path: '/agents/stats',
  tag,
  summary: 'How many agents there are, by status',
  auth: signedIn,
  success: { status: 200, schema: schema.stats },
  handler: async (_request, { db }) => ({ body: await countAgents(db) }),
});

const create = defineRoute({
  operationId: 'createAgent',
  method: 'POST',
  path: '/agents',
  tag,
  summary: 'Register an agent',
  description: 'The answer carries its token, which is never shown again.',
  auth: admins,
  body: schema.creation,
  success: { status: 201, schema: schema.createdAgent, headers: { Location: 'The agent' } },
  errors: ['agent-exists'],
  async handler({ actor, body, ip, requestId }, { db, sealToken, settings }) {
    const token = newToken();
    const agent = await audited(db, { action: 'agent.created', actor, ip, requestId }, transaction =>
      insertAgent(db, body, sealToken(token), transaction),
    );
    return {
      body: { ...presentAgent(agent, settings), agent_token: token },
      headers: { Location: `${BASE}/agents/${agent.id}` },
    };
  },
});

const get = defineRoute({
  operationId: 'readAgent',
  method: 'GET',
  path: '/agents/:id',
  tag,
  summary: 'One agent',
  auth: signedIn,
  params: idParams,
  success: { status: 200, schema: schema.agent },
  errors: ['not-found'],
  async handler({ params }, { db, settings }) {
    return { body: presentAgent(await findAgent(db, params.id), settings) };
  },
});

const put = defineRoute({
  operationId: 'updateAgent',
  method: 'PUT',
  path: '/agents/:id',
  tag,
  summary: 'Change how an agent is reached or labelled',
  description: 'Partial.',
  auth: admins,
  params: idParams,
  body: schema.change,
  success: { status: 200, schema: schema.agent },
  errors: ['not-found'],
  async handler({ params, body, actor, ip, requestId }, { db, gateway, settings }) {
    const agent = await audited(db, { action: 'agent.updated', actor, ip, requestId }, transaction =>
      updateAgent(db, params.id, body, transaction),
    );
    // The next call dials what the row says now.
    gateway.forget(agent.id);
    return { body: presentAgent(agent, settings) };
  },
});

const remove = defineRoute({
  operationId: 'deleteAgent',
  method: 'DELETE',
  path: '/agents/:id',
  tag,
  summary: 'Forget an agent that holds no servers',
  auth: admins,
  params: idParams,
  success: { status: 204 },
  errors: ['not-found', 'agent-in-use'],
  async handler({ params, actor, ip, requestId }, { db, gateway }) {
    await audited(db, { action: 'agent.deleted', actor, ip, requestId }, async transaction => {
      await deleteAgent(db, params.id, transaction);
      return params;
    });
    gateway.forget(params.id);
    return { body: undefined };
  },
});

const maintenance = defineRoute({
  operationId: 'setAgentMaintenance',
  method: 'POST',
  path: '/agents/:id/maintenance',
  tag,
  summary: 'Announce work on an agent’s host, or its end',
  description:
    'Until then no new server is placed there and nothing is taken over from there. Its servers play on, and its lease is renewed as ever.',
  auth: admins,
  params: idParams,
  body: schema.maintenance,
  success: { status: 200, schema: schema.agent },
  errors: ['not-found'],
  async handler({ params, body, actor, ip, requestId }, { db, bus, settings }) {
    const until = body.until === null ? null : new Date(body.until);
    const entry = { action: 'agent.maintenance', actor, ip, requestId, data: { until: body.until } } as const;
    const agent = await audited(db, entry, transaction => setMaintenance(db, params.id, until, transaction));
    bus.publish('agent-status', { agent_id: agent.id });
    return { body: presentAgent(agent, settings) };
  },
});

const installJava = defineRoute({
  operationId: 'installJava',
  method: 'POST',
  path: '/agents/:id/java',
  tag,
  summary: 'Install a Java runtime on an agent',
  description:
    'Temurin, by the Adoptium API, into the agent’s own folder; no root needed. At once when the agent has that version.',
  auth: admins,
  params: idParams,
  body: schema.javaWish,
  idempotent: true,
  success: { status: 202, schema: operation, headers: OPERATION_HEADERS },
  errors: ['not-found'],
  async handler({ params, body, actor, ip, requestId, idempotencyKey }, { db, operations }) {
    const entry = { action: 'agent.java-requested', actor, ip, requestId, data: body } as const;
    const { operation: requested } = await operations.requestForAgent({
      kind: 'agent.install_java',
      agentId: params.id,
      requestedBy: actor.id,
      trigger: 'user',
      params: body,
      requestId,
      ...(idempotencyKey !== undefined && { idempotencyKey }),
      prepare: transaction =>
        appendAudit(db, { ...entry, target: { type: 'agent', id: params.id } }, { transaction }),
    });
    return accepted(requested);
  },
});

/** A change of an agent and its record, or neither. */
function audited<T extends { id: string }>(
  db: Database,
  entry: Pick<AuditEntry, 'action' | 'actor' | 'ip' | 'requestId' | 'data'>,
  change: (transaction: Transaction) => Promise<T>,
): Promise<T> {
  return inTransaction(db, async transaction => {
    const changed = await change(transaction);
    await appendAudit(db, { ...entry, target: { type: 'agent', id: changed.id } }, { transaction });
    return changed;
  });
}

const health = defineRoute({
  operationId: 'checkAgentHealth',
  method: 'GET',
  path: '/agents/:id/health',
  tag,
  summary: 'Ping an agent now',
  description: 'Within five seconds; that it can’t be reached is an answer, not an error.',
  auth: signedIn,
  params: idParams,
  success: { status: 200, schema: schema.health },
  errors: ['not-found'],
  async handler({ params, signal, requestId }, api) {
    return { body: await checkHealth(api, await findAgent(api.db, params.id), { signal, requestId }) };
  },
});

const metrics = defineRoute({
  operationId: 'readAgentMetrics',
  method: 'GET',
  path: '/agents/:id/metrics',
  tag,
  summary: 'Processor, memory, disk and network of an agent’s host now',
  auth: signedIn,
  params: idParams,
  success: { status: 200, schema: schema.metrics },
  errors: ['not-found', ...AGENT_FAILURES],
  async handler({ params, signal, requestId }, api) {
    return { body: await readMetrics(api, await findAgent(api.db, params.id), { signal, requestId }) };
  },
});

const history = defineRoute({
  operationId: 'readAgentMetricsHistory',
  method: 'GET',
  path: '/agents/:id/metrics/history',
  tag,
  summary: 'What was measured of an agent’s host, over time',
  description: `${METRICS_DESCRIPTION}Processor, used memory and used disk are means of what was measured; what the network has carried since boot is the last count.`,
  auth: signedIn,
  params: idParams,
  query: metricsQuery,
  success: { status: 200, schema: schema.history },
  errors: ['not-found'],
  async handler({ params, query }, { db }) {
    const { id } = await findAgent(db, params.id);
    return { body: (await readAgentHistory(db, id, readRange(query))).map(presentHistoryPoint) };
  },
});

export const agentRoutes: Route[] = [
  list,
  stats,
  create,
  get,
  put,
  remove,
  maintenance,
  installJava,
  health,
  metrics,
  history,
];
