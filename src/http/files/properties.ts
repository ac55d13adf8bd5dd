import type { CallOptions, UploadRules } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';
import { changeProperties, readProperties as parseProperties } from '#src/domain/serverProperties.js';
import { eitherBody, Incoming, jsonBody, streamedBody } from '../bodies.js';
import type { Api } from '../deps.js';
import { idParams } from '../fields.js';
import { defineRoute, type Reply } from '../route.js';
import { onServer } from '../servers/policy.js';
import type { ListedServer } from '../servers/queries.js';
import { entityTag, isNamed, isNamedStrongly } from './conditions.js';
import { known } from './presenter.js';
import * as schema from './schema.js';
import { FILE_FAILURES, findFolder, type ServerFolder } from './serverFolder.js';

const PATH = 'server.properties';
const BYTES_MAX = 1024 * 1024;
const TEXT = 'text/plain; charset=utf-8';
const CACHE_CONTROL = 'private, no-cache';
/** Changes that meet one another: each is made on what the one before it has left. */
const ATTEMPTS_MAX = 5;

/** Written into the file at each start from the server's own settings, so a change there would not last. */
const OWNED: Readonly<Record<string, (server: ListedServer) => number | null>> = {
  'server-port': ({ port }) => port,
  'max-players': ({ max_players }) => max_players,
};
const SETTING_OF: Readonly<Record<string, string>> = { 'server-port': 'port', 'max-players': 'max_players' };

type PropertiesReply = schema.Properties | Buffer | null;

/** One byte a character, so that no line changes on its way through us. */
interface PropertiesFile {
  text: string;
  /** Null: there is none. */
  etag: string | null;
}

export const readProperties = defineRoute({
  operationId: 'readServerProperties',
  method: 'GET',
  path: '/servers/:id/files/server.properties',
  tag: 'files',
  summary: 'server.properties, key by key',
  auth: onServer('files.read'),
  params: idParams,
  query: schema.raw,
  headers: schema.ifNoneMatch,
  success: {
    status: 200,
    schema: schema.properties,
    otherContentType: TEXT,
    otherStatuses: { 304: 'It is still the one that was named' },
    headers: { ETag: 'Of the file' },
  },
  errors: FILE_FAILURES,
  async handler({ server, query, headers, signal, requestId }, api): Promise<Reply<PropertiesReply>> {
    const { text, etag } = await load(api, await findFolder(api, server), { signal, requestId });
    if (etag === null) throw new AppError('file-not-found', { detail: `There is no ${PATH} yet` });
    const facts = { ETag: entityTag(etag), 'Cache-Control': CACHE_CONTROL };
    if (isNamed(headers['If-None-Match'], etag)) return { status: 304, body: null, headers: facts };
    if (!query.raw) return { body: parseProperties(text), headers: facts };
    return { body: Buffer.from(text, 'latin1'), headers: { ...facts, 'Content-Type': TEXT } };
  },
});

export const writeProperties = defineRoute({
  operationId: 'writeServerProperties',
  method: 'PUT',
  path: '/servers/:id/files/server.properties',
  tag: 'files',
  summary: 'Change server.properties',
  description:
    'JSON changes the keys that it names; comments, order and all other keys stay as they are. text/plain replaces the whole file. The server reads it when it starts. `server-port` and `max-players` are settings of the server: PUT /servers/:id changes them.',
  auth: onServer('files.write'),
  params: idParams,
  query: schema.raw,
  headers: schema.writeHeaders,
  body: eitherBody(
    jsonBody(schema.propertyChanges),
    streamedBody({ type: 'text/plain', maxBytes: BYTES_MAX }),
  ),
  success: { status: 200, schema: schema.properties, headers: { ETag: 'Of the file as it now is' } },
  errors: ['precondition-failed', 'disk-full', ...FILE_FAILURES],
  async handler({ server, headers, body, signal, requestId }, api) {
    const call = { signal, requestId };
    const folder = await findFolder(api, server);
    const change = body instanceof Incoming ? replacing(await textOf(body)) : changing(body);
    for (let attempt = 1; ; attempt++) {
      const before = await load(api, folder, call);
      assertNamed(headers, before);
      const text = change(before.text);
      assertOwnedKept(server, parseProperties(before.text), parseProperties(text), body instanceof Incoming);
      try {
        const etag = await store(api, folder, before, text, call);
        return { body: parseProperties(text), headers: { ETag: entityTag(etag) } };
      } catch (error) {
        const isRace = error instanceof AppError && error.code === 'precondition-failed';
        if (!isRace || attempt === ATTEMPTS_MAX) throw error;
      }
    }
  },
});

function changing(input: schema.PropertyInput): (text: string) => string {
  const changes = Object.entries(input).map(([key, value]): [string, string | null] => [
    key,
    value === null ? null : String(value),
  ]);
  return text => changeProperties(text, Object.fromEntries(changes));
}

function replacing(text: string): (before: string) => string {
  return () => text;
}

async function textOf({ bytes }: Incoming): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks).toString('latin1');
}

async function load(
  { gateway }: Api,
  { agent, at }: ServerFolder,
  call: CallOptions,
): Promise<PropertiesFile> {
  try {
    const { opened, content } = await gateway.files.download(agent, at(PATH), { offset: 0, length: 0 }, call);
    if (opened.length > BYTES_MAX) {
      await content.return();
      throw new AppError('body-too-large', { detail: `${PATH} has more than ${BYTES_MAX} bytes` });
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    return { text: Buffer.concat(chunks).toString('latin1'), etag: known(opened.facts).etag };
  } catch (error) {
    if (error instanceof AppError && error.code === 'file-not-found') return { text: '', etag: null };
    throw error;
  }
}

/** Over the file that was read, and no other. */
async function store(
  { gateway }: Api,
  { agent, at }: ServerFolder,
  { text: before, etag }: PropertiesFile,
  text: string,
  call: CallOptions,
): Promise<string> {
  if (etag !== null && text === before) return etag;
  const expected: UploadRules['expected'] = etag === null ? 'nothing' : { etag };
  const content = (async function* () {
    yield Buffer.from(text, 'latin1');
  })();
  const stored = await gateway.files.upload(
    agent,
    at(PATH),
    { expected, createFolders: false },
    content,
    call,
  );
  return known(stored.facts).etag;
}

function assertNamed(headers: schema.WriteHeaders, { etag }: PropertiesFile): void {
  const ifMatch = headers['If-Match'];
  const isWanted = ifMatch === undefined || (etag !== null && isNamedStrongly(ifMatch, etag));
  const isNew = headers['If-None-Match'] === undefined || etag === null;
  if (!isWanted || !isNew) throw new AppError('precondition-failed');
}

/** They may stay as they are, or become what the server's settings say; a text that leaves them out gets them back. */
function assertOwnedKept(
  server: ListedServer,
  before: schema.Properties,
  after: schema.Properties,
  mayBeAbsent: boolean,
): void {
  for (const [key, settingOf] of Object.entries(OWNED)) {
    const value = after[key];
    if (value === before[key] || value === String(settingOf(server))) continue;
    if (value === undefined && mayBeAbsent) continue;
    const message = `${key} follows the server’s own settings: change ${SETTING_OF[key]} by PUT /servers/:id`;
    throw new AppError('invalid-request', { detail: message, errors: [{ path: `body.${key}`, message }] });
  }
}
