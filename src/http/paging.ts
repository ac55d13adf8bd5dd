import Joi from 'joi';

/** Where a list may be asked to begin; either way of counting, never both. */
export interface PageQuery {
  page?: number;
  per_page?: number;
  limit?: number;
  offset?: number;
}

export interface Page {
  limit: number;
  offset: number;
}

const DEFAULT_SIZE = 20;
const MAX_SIZE = 100;
/** Of lists that old clients read without ever paging. */
export const UNPAGED_SIZE = 500;
/** Far enough for anyone; keeps OFFSET an integer for PostgreSQL. */
const MAX_OFFSET = 1_000_000_000;

const PAGE_FIELDS = {
  page: Joi.number()
    .integer()
    .min(1)
    .max(MAX_OFFSET / MAX_SIZE)
    .description('Counted from 1; with per_page'),
  per_page: Joi.number().integer().min(1).max(MAX_SIZE).description(`Default ${DEFAULT_SIZE}`),
  limit: Joi.number().integer().min(1).max(MAX_SIZE).description('Instead of page and per_page; with offset'),
  offset: Joi.number().integer().min(0).max(MAX_OFFSET),
};

/** A query of a list: its own filters and the paging, of which the two ways exclude each other. */
export function listQuery<Q extends PageQuery>(filters: Joi.SchemaMap<Q>): Joi.ObjectSchema<Q> {
  return Joi.object<Q>({ ...filters, ...PAGE_FIELDS })
    .without('page', ['limit', 'offset'])
    .without('per_page', ['limit', 'offset'])
    .messages({ 'object.without': 'page and per_page do not go with limit and offset' });
}

/** `sort=name` or `sort=-name`. */
export const sortField = (...columns: readonly string[]) =>
  Joi.string()
    .valid(...columns.flatMap(column => [column, `-${column}`]))
    .description('A column; with a minus, from the largest down');

export function readPage(query: PageQuery, unpagedSize = DEFAULT_SIZE): Page {
  if (query.page !== undefined || query.per_page !== undefined) {
    const limit = query.per_page ?? DEFAULT_SIZE;
    return { limit, offset: ((query.page ?? 1) - 1) * limit };
  }
  if (query.limit !== undefined || query.offset !== undefined) {
    return { limit: query.limit ?? DEFAULT_SIZE, offset: query.offset ?? 0 };
  }
  return { limit: unpagedSize, offset: 0 };
}

export const LIST_HEADERS = {
  'X-Total-Count': 'How many there are on all pages together',
  Link: 'RFC 8288: `first`, `prev`, `next` and `last`, where they exist',
};

/** `X-Total-Count`, and `Link` in the way of counting that the client uses. */
export function pageHeaders(
  url: { path: string; query: URLSearchParams },
  { limit, offset }: Page,
  total: number,
): Record<string, string> {
  const byPage = url.query.has('page') || url.query.has('per_page');
  const link = (rel: string, start: number) => {
    const query = new URLSearchParams(url.query);
    if (byPage) query.set('page', String(Math.floor(start / limit) + 1));
    else query.set('offset', String(start));
    query.set(byPage ? 'per_page' : 'limit', String(limit));
    return `<${url.path}?${query.toString()}>; rel="${rel}"`;
  };
  const last = Math.max(0, Math.ceil(total / limit) - 1) * limit;
  const links = [link('first', 0)];
  if (offset > 0) links.push(link('prev', Math.max(0, Math.min(offset - limit, last))));
  if (offset + limit < total) links.push(link('next', offset + limit));
  links.push(link('last', last));
  return { 'X-Total-Count': String(total), Link: links.join(', ') };
}
