import { AppError } from '#src/domain/errors.js';
import { readProperties as parseProperties } from '#src/domain/serverProperties.js';
import { eitherBody, Incoming, jsonBody, streamedBody } from '../bodies.js';
import { idParams } from '../fields.js';
import { invalidField } from '../parse.js';
import { defineRoute, type Reply } from '../route.js';
import { onServer } from '../servers/policy.js';
import type { ListedServer } from '../servers/queries.js';
import { entityTag, isNamed } from './conditions.js';
import { propertiesConfig } from './propertiesConfig.js';
import * as schema from './schema.js';
import { FILE_FAILURES, findFolder } from './serverFolder.js';
import { changeText, loadText, TEXT_BYTES_MAX } from './textFile.js';

export const SERVER_PROPERTIES = 'server.properties';
const TEXT = 'text/plain; charset=utf-8';
const CACHE_CONTROL = 'private, no-cache';

/** Written into the file at each start from the server's own settings, so a change there would not last. */
const OWNED: Readonly<Record<string, (server: ListedServer) => number | null>> = {
  'server-port': ({ port }) => port,
  'max-players': ({ max_players }) => max_players,
};
const SETTING_OF: Readonly<Record<string, string>> = { 'server-port': 'port', 'max-players': 'max_players' };

type PropertiesReply = schema.Properties | Buffer | null;

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
    const { text, etag } = await loadText(api, await findFolder(api, server), SERVER_PROPERTIES, {
      signal,
      requestId,
    });
    if (etag === null)
      throw new AppError('file-not-found', { detail: `There is no ${SERVER_PROPERTIES} yet` });
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
    streamedBody({ type: 'text/plain', maxBytes: TEXT_BYTES_MAX }),
  ),
  success: { status: 200, schema: schema.properties, headers: { ETag: 'Of the file as it now is' } },
  errors: ['precondition-failed', 'disk-full', ...FILE_FAILURES],
  async handler({ server, headers, body, signal, requestId }, api) {
    const call = { signal, requestId };
    const folder = await findFolder(api, server);
    const change = body instanceof Incoming ? replacing(await textOf(body)) : changing(body);
    const { text, etag } = await changeText(
      api,
      folder,
      SERVER_PROPERTIES,
      before => {
        const after = change(before.text);
        assertOwnedKept(server, before.text, after, body instanceof Incoming);
        return after;
      },
      { headers, call },
    );
    return { body: parseProperties(text), headers: { ETag: entityTag(etag) } };
  },
});

function changing(input: schema.PropertyInput): (text: string) => string {
  return text => propertiesConfig.change(text, input);
}

function replacing(text: string): (before: string) => string {
  return () => text;
}

async function textOf({ bytes }: Incoming): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks).toString('latin1');
}

/** They may stay as they are, or become what the server's settings say; a text that leaves them out gets them back. */
export function assertOwnedKept(
  server: ListedServer,
  textBefore: string,
  textAfter: string,
  mayBeAbsent: boolean,
): void {
  const [before, after] = [parseProperties(textBefore), parseProperties(textAfter)];
  for (const [key, settingOf] of Object.entries(OWNED)) {
    const value = after[key];
    if (value === before[key] || value === String(settingOf(server))) continue;
    if (value === undefined && mayBeAbsent) continue;
    const message = `${key} follows the server’s own settings: change ${SETTING_OF[key]} by PUT /servers/:id`;
    throw invalidField(`body.${key}`, message);
  }
}
