import type { LogEntryView } from '#src/contracts/logEntry.js';
import type { ClusterUser } from './clusterUser.js';

const PAGE_LINES = 1_000;

/** One page of `GET /servers/:id/logs`, newest first. */
export async function readPage(
  user: ClusterUser,
  serverId: string,
  query: { before?: string; after?: string; limit?: number },
): Promise<LogEntryView[]> {
  const { limit = PAGE_LINES, ...place } = query;
  const search = new URLSearchParams({ limit: String(limit), ...place });
  const { status, body } = await user.persist('GET', `/servers/${serverId}/logs?${search.toString()}`);
  if (status !== 200 || !isPage(body)) throw new Error(`logs answered ${status}: ${JSON.stringify(body)}`);
  return body;
}

/** The texts of the whole history, oldest first, page by page from its end. */
export async function readHistory(user: ClusterUser, serverId: string): Promise<string[]> {
  const newestFirst: string[] = [];
  let before: string | undefined;
  for (;;) {
    const page = await readPage(user, serverId, before === undefined ? {} : { before });
    newestFirst.push(...page.map(({ message }) => message));
    before = page.at(-1)?.cursor;
    if (page.length < PAGE_LINES) return newestFirst.reverse();
  }
}

/** The API checks its answers against their schemas outside of production: enough to tell a page from a problem. */
function isPage(body: unknown): body is LogEntryView[] {
  return Array.isArray(body);
}
