import Joi from 'joi';
import { AppError } from '#src/domain/errors.js';
import { named } from '../fields.js';
import { anyone } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import { checkReadiness } from './probes.js';
import { resetPageRoutes } from './resetPage.js';
import { DOC_FILES, DOCS_CSP, DOCS_PAGE, readDocFile } from './swaggerUi.js';

const base = { method: 'GET', outsideBase: true, tag: 'system', auth: anyone } as const;
const A_DAY = 'public, max-age=86400';

const healthz = defineRoute({
  ...base,
  operationId: 'checkLiveness',
  path: '/healthz',
  summary: 'Whether the process is alive',
  success: { status: 200, schema: Joi.object({ status: Joi.string().valid('ok').required() }) },
  handler: () => ({ body: { status: 'ok' } }),
});

const health = () => Joi.string().valid('up', 'down', 'disabled').required();
const readyz = defineRoute({
  ...base,
  operationId: 'checkReadiness',
  path: '/readyz',
  summary: 'Whether requests can be served',
  description:
    'Postgres is required; Temporal and Redis are reported: without them requests are accepted and carried out later.',
  success: {
    status: 200,
    schema: named(
      'Readiness',
      Joi.object({
        status: Joi.string().valid('ready', 'unavailable').required(),
        checks: Joi.object({ postgres: health(), temporal: health(), redis: health() }).required(),
      }),
    ),
    otherStatuses: { 503: 'Postgres does not answer' },
  },
  async handler(_request, api) {
    const readiness = await checkReadiness(api);
    return { body: readiness, status: readiness.status === 'ready' ? 200 : 503 };
  },
});

const metrics = defineRoute({
  ...base,
  operationId: 'readMetrics',
  path: '/metrics',
  summary: 'Prometheus metrics of this process',
  success: { status: 200, contentType: 'text/plain' },
  handler: async (_request, api) => ({
    body: await api.metrics.metrics(),
    headers: { 'Content-Type': api.metrics.contentType },
  }),
});

const openApi = defineRoute({
  ...base,
  operationId: 'readOpenApi',
  path: '/openapi.json',
  summary: 'This description, as OpenAPI 3.1',
  success: { status: 200, contentType: 'application/json; charset=utf-8' },
  handler: (_request, api) => ({ body: api.openApi }),
});

const docs = defineRoute({
  ...base,
  operationId: 'readDocs',
  path: '/docs',
  summary: 'This description, as a page to try it out',
  success: { status: 200, contentType: 'text/html; charset=utf-8' },
  handler: () => ({ body: DOCS_PAGE, headers: { 'Content-Security-Policy': DOCS_CSP } }),
});

const docFile = defineRoute({
  ...base,
  operationId: 'readDocFile',
  path: '/docs/:file',
  summary: 'What that page consists of',
  params: Joi.object<{ file: string }, true>({ file: Joi.string().example(DOC_FILES[0]).required() }),
  success: { status: 200, contentType: '*/*' },
  errors: ['not-found'],
  async handler({ params }) {
    const file = await readDocFile(params.file);
    if (!file) throw new AppError('not-found');
    return { body: file.content, headers: { 'Content-Type': file.contentType, 'Cache-Control': A_DAY } };
  },
});

const oldDocs = defineRoute({
  ...base,
  operationId: 'redirectToDocs',
  path: '/swagger/index.html',
  summary: 'Where that page used to be',
  success: { status: 302, headers: { Location: '/docs' } },
  handler: () => ({ body: '', headers: { Location: '/docs' } }),
});

export const systemRoutes: Route[] = [
  healthz,
  readyz,
  metrics,
  openApi,
  docs,
  docFile,
  oldDocs,
  ...resetPageRoutes,
];
