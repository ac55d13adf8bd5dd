import type Joi from 'joi';
import { AppError, ERRORS, type ErrorCode } from '#src/domain/errors.js';
import { exampleOf } from './examples.js';
import { isObject, toJsonSchema, type Components, type JsonSchema } from './jsonSchema.js';
import { problemOf } from './middleware/problems.js';
import type { Route } from './route.js';

export interface OpenApiDocument {
  openapi: string;
  info: Record<string, unknown>;
  servers: { url: string }[];
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, unknown>>;
  components: { schemas: Components; securitySchemes: Record<string, unknown> };
}

const TAGS = {
  auth: 'Accounts, sessions, API keys and second factors',
  users: 'All accounts, for administrators',
  audit: 'Who did what',
  notifications: 'What I was told: alerts about servers that I see',
  webhooks: 'Where my alerts are sent, signed; a user’s own',
  agents: 'The hosts that run servers',
  servers: 'Minecraft servers, and what can be done with them',
  files: 'What is in the folder of a server, as its agent has it; paths are relative to that folder',
  operations: 'What was asked for: each is acknowledged once and ends in exactly one recorded way',
  system: 'Probes, metrics and this description',
};

const PROBLEM: JsonSchema = {
  type: 'object',
  description: 'RFC 9457. `code` is stable; `error` repeats `detail` for existing clients.',
  required: ['type', 'title', 'status', 'detail', 'code', 'instance', 'request_id', 'error'],
  properties: {
    type: { type: 'string', format: 'uri', examples: ['urn:aymc:problem:not-found'] },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string', enum: Object.keys(ERRORS) },
    instance: { type: 'string' },
    request_id: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['path', 'message'],
        properties: { path: { type: 'string', examples: ['body.memory_max'] }, message: { type: 'string' } },
      },
    },
    error: { type: 'string' },
  },
};

const BEARER = {
  type: 'http',
  scheme: 'bearer',
  description:
    'An access token, or an API key (`aymc_…`). A key must have been made for the scope that an operation names as `x-scope`; `session` is for no key, `by-operation` takes what asking for that operation takes.',
};

/** OpenAPI 3.1, whose schemas are the JSON Schema that joi writes itself. Pure: the same routes give the same text. */
export function buildOpenApi(routes: readonly Route[]): OpenApiDocument {
  const schemas: Components = { Problem: PROBLEM };
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    (paths[path] ??= {})[route.method.toLowerCase()] = describeRoute(route, path, schemas);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'AYMC',
      version: '1.0.0',
      description:
        'Control plane for fleets of Minecraft servers. Every risky request becomes a durable operation: it is acknowledged at once and ends in exactly one recorded outcome.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => a.localeCompare(b, 'en'))),
      securitySchemes: {
        bearer: BEARER,
        agentToken: {
          type: 'http',
          scheme: 'bearer',
          description: 'The token of the agent that the request names, as its registration answered it',
        },
      },
    },
  };
}

function describeRoute(route: Route, path: string, schemas: Components) {
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description !== undefined && { description: route.description }),
    'x-rule': route.rule,
    ...(route.scope !== null && { 'x-scope': route.scope }),
    security: securityOf(route),
    parameters: [
      ...parametersOf(route.params, 'path', schemas),
      ...parametersOf(route.query, 'query', schemas),
      ...parametersOf(route.headers, 'header', schemas),
      ...(route.idempotent ? [IDEMPOTENCY_KEY] : []),
    ],
    ...(route.body && {
      requestBody: { required: route.body.required, content: bodyContent(route.body.content, schemas) },
    }),
    responses: { ...successOf(route, schemas), ...failuresOf(route, path) },
  };
}

function securityOf({ rule }: Route): Record<string, never[]>[] {
  if (rule === 'anyone') return [];
  return rule === 'agent' ? [{ agentToken: [] }] : [{ bearer: [] }];
}

/** Bytes of no further structure have the empty schema: OpenAPI 3.1, Considerations for File Uploads. */
function bodyContent(content: Readonly<Record<string, Joi.Schema | null>>, schemas: Components) {
  return Object.fromEntries(
    Object.entries(content).map(([type, joi]) => {
      if (!joi) return [type, {}];
      const schema = toJsonSchema(joi, 'input', schemas);
      return [type, { schema, example: exampleOf(schema, schemas) }];
    }),
  );
}

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'Repeating a request with the same key answers the operation of the first time',
  schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
};

function parametersOf(
  schema: Joi.Schema | undefined,
  place: 'path' | 'query' | 'header',
  schemas: Components,
) {
  if (!schema) return [];
  const { properties, required } = toJsonSchema(schema, 'input', schemas);
  const names: unknown[] = Array.isArray(required) ? required : [];
  return Object.entries(isObject(properties) ? properties : {}).map(([name, property]) => {
    const { description, ...rest } = isObject(property) ? property : {};
    return {
      name,
      in: place,
      required: place === 'path' || (names.includes(name) && !('default' in rest)),
      ...(typeof description === 'string' && { description }),
      schema: rest,
    };
  });
}

function successOf({ success }: Route, schemas: Components) {
  const [contentType = 'application/json'] = success.contentType?.split(';', 1) ?? [];
  const schema = success.schema && toJsonSchema(success.schema, 'output', schemas);
  const content = schema
    ? { [contentType]: { schema, example: exampleOf(schema, schemas) } }
    : success.contentType
      ? { [contentType]: { schema: { type: contentType === 'application/json' ? 'object' : 'string' } } }
      : undefined;
  const other = success.otherContentType?.split(';', 1)[0];
  const all = { ...content, ...(other !== undefined && { [other]: { schema: { type: 'string' } } }) };
  const answer = (status: string, description: string) => ({
    description,
    ...(success.headers && { headers: describeHeaders(success.headers) }),
    ...(content && status !== '304' && { content: all }),
  });
  const statuses = {
    [success.status]: success.description ?? STATUS_TEXT[success.status],
    ...success.otherStatuses,
  };
  return Object.fromEntries(Object.entries(statuses).map(([status, text]) => [status, answer(status, text)]));
}

const STATUS_TEXT = {
  200: 'Done',
  201: 'Created',
  202: 'Accepted: the operation goes on by itself',
  204: 'Done, nothing to say',
  302: 'Elsewhere',
};

function describeHeaders(headers: Record<string, string>) {
  const counts = [
    'X-Total-Count',
    'RateLimit-Limit',
    'RateLimit-Remaining',
    'RateLimit-Reset',
    'Retry-After',
  ];
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [
      name,
      { description, schema: { type: counts.includes(name) ? 'integer' : 'string' } },
    ]),
  );
}

/** One answer a status, naming every code that it may carry. */
function failuresOf({ errors, success }: Route, path: string) {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of [...errors].sort()) {
    const { status } = ERRORS[code];
    if (!Object.hasOwn(success.otherStatuses ?? {}, status))
      byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: codes.map(code => `\`${code}\`: ${ERRORS[code].title}`).join('; '),
        ...(FAILURE_HEADERS[status] && { headers: describeHeaders(FAILURE_HEADERS[status]) }),
        content: {
          'application/problem+json': {
            schema: { $ref: '#/components/schemas/Problem' },
            examples: Object.fromEntries(codes.map(code => [code, { value: exampleProblem(code, path) }])),
          },
        },
      },
    ]),
  );
}

function exampleProblem(code: ErrorCode, path: string) {
  return problemOf(new AppError(code), path, EXAMPLE_REQUEST_ID);
}

const EXAMPLE_REQUEST_ID = '7c9a1e52-3b0f-4f0e-9d53-2d1c5a7e4b60';

const FAILURE_HEADERS: Record<number, Record<string, string>> = {
  401: { 'WWW-Authenticate': 'RFC 6750' },
  416: { 'Content-Range': 'How long the file is, where that is known' },
  429: { 'Retry-After': 'Seconds' },
};
