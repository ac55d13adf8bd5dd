import { viewMetrics } from '#src/db/metrics.js';
import { readServerHistory } from '#src/db/metricsHistory.js';
import { idParams } from '../fields.js';
import { METRICS_DESCRIPTION, metricsQuery, readRange } from '../metricsRange.js';
import { defineRoute } from '../route.js';
import { onServer } from './policy.js';
import * as schema from './schema.js';

/** From storage: also while the server, or its agent, is away. */
export const metrics = defineRoute({
  operationId: 'readServerMetrics',
  method: 'GET',
  path: '/servers/:id/metrics',
  tag: 'servers',
  summary: 'What was measured of a server, over time',
  description: `${METRICS_DESCRIPTION}Processor, memory, disk and ticks are means of what was measured; players are the most that were online at once; the uptime is the last one. What comes from now on is on the channel \`server:<id>:metrics\`.`,
  auth: onServer('view'),
  params: idParams,
  query: metricsQuery,
  success: { status: 200, schema: schema.metrics },
  async handler({ server, query }, { db }) {
    const points = await readServerHistory(db, server.id, readRange(query));
    return { body: points.map(viewMetrics) };
  },
});
