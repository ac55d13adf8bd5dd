import { decodeCursor } from '#src/contracts/cursor.js';
import { readLogs, viewLog, type LogQuery } from '#src/db/consoleStorage.js';
import { idParams } from '../fields.js';
import { defineRoute } from '../route.js';
import { onServer } from './policy.js';
import * as schema from './schema.js';

const DEFAULT_LIMIT = 100;

/** The console of a server across its runs and crashes, from storage: also while it, or its agent, is away. */
export const logs = defineRoute({
  operationId: 'readServerLogs',
  method: 'GET',
  path: '/servers/:id/logs',
  tag: 'servers',
  summary: 'What the console of a server has printed',
  description:
    'Newest first: the newest `limit` lines, those right before the cursor `before`, or those right after the cursor `after`. Cursors are those of the channel `server:<id>:logs`.',
  auth: onServer('console.read'),
  params: idParams,
  query: schema.logs,
  success: {
    status: 200,
    schema: schema.logEntries,
    headers: {
      Link: 'RFC 8288: `next` is the next older page, where there is one',
      'X-Next-Cursor': 'For `before`: where the next older page begins',
    },
  },
  async handler({ server, query, url }, { db }) {
    const { before, after, level, q, limit = DEFAULT_LIMIT } = query;
    const wanted: LogQuery = {
      limit,
      ...(before !== undefined && { before: decodeCursor(before) }),
      ...(after !== undefined && { after: decodeCursor(after) }),
      ...(level !== undefined && { level }),
      ...(q !== undefined && { text: q }),
    };
    const body = (await readLogs(db, server.id, wanted)).reverse().map(viewLog);
    const oldest = body.at(-1)?.cursor;
    // A page after a cursor always has an older one: what the cursor stands for.
    const hasOlder = oldest !== undefined && (after !== undefined || body.length === limit);
    return { body, headers: hasOlder ? nextPage(url, oldest) : {} };
  },
});

function nextPage(url: { path: string; query: URLSearchParams }, cursor: string): Record<string, string> {
  const query = new URLSearchParams(url.query);
  query.delete('after');
  query.set('before', cursor);
  return { Link: `<${url.path}?${query.toString()}>; rel="next"`, 'X-Next-Cursor': cursor };
}
