import { isConfigList, isConfigObject, parseConfigValue, type ConfigRoot } from '#src/domain/configValue.js';
import { AppError } from '#src/domain/errors.js';
import { fileNameOf, parseInnerPath } from '#src/domain/filePath.js';
import type { Body } from '../bodies.js';
import { idParams } from '../fields.js';
import { readBody } from '../middleware/body.js';
import { invalidField } from '../parse.js';
import { defineRoute, type Reply, type Route } from '../route.js';
import { onServer } from '../servers/policy.js';
import { entityTag, isNamed } from './conditions.js';
import type { ConfigFormat } from './configFormat.js';
import { jsonConfig } from './jsonConfig.js';
import { assertOwnedKept, SERVER_PROPERTIES } from './properties.js';
import { propertiesConfig } from './propertiesConfig.js';
import * as schema from './schema.js';
import { FILE_FAILURES, findFolder } from './serverFolder.js';
import { changeText, loadText } from './textFile.js';
import { inUtf8 } from './utf8.js';
import { yamlConfig } from './yamlConfig.js';

const CACHE_CONTROL = 'private, no-cache';

/** By the end of the file's name. */
const FORMATS: ReadonlyMap<string, ConfigFormat> = new Map([
  ['yml', inUtf8(yamlConfig)],
  ['yaml', inUtf8(yamlConfig)],
  ['json', inUtf8(jsonConfig)],
  ['properties', propertiesConfig],
]);

const body: Body<ConfigRoot> = {
  content: { 'application/json': schema.configChange },
  required: false,
  errors: ['invalid-json', 'body-too-large', 'unsupported-media-type'],
  async read(ctx) {
    const value = parseConfigValue(await readBody(ctx), 'invalid-request');
    if (isConfigObject(value) || isConfigList(value)) return value;
    throw invalidField('body', 'The body must be an object or a list');
  },
};

const read = defineRoute({
  operationId: 'readConfig',
  method: 'GET',
  path: '/servers/:id/files/config',
  tag: 'files',
  summary: 'A file of settings as data',
  description:
    'YAML (.yml, .yaml), JSON and .properties of up to 1 MiB (YAML: 50,000 tokens): the object, or list, that the file holds, with anchors and aliases resolved.',
  auth: onServer('files.read'),
  params: idParams,
  query: schema.configFile,
  headers: schema.ifNoneMatch,
  success: {
    status: 200,
    schema: schema.config,
    otherStatuses: { 304: 'It is still the one that was named' },
    headers: { ETag: 'Of the file' },
  },
  errors: ['invalid-config', 'body-too-large', ...FILE_FAILURES],
  async handler({ server, query, headers, signal, requestId }, api): Promise<Reply<ConfigRoot | null>> {
    const path = parseInnerPath(query.path);
    const format = formatOf(path);
    const { text, etag } = await loadText(api, await findFolder(api, server), path, { signal, requestId });
    if (etag === null) throw new AppError('file-not-found');
    const facts = { ETag: entityTag(etag), 'Cache-Control': CACHE_CONTROL };
    if (isNamed(headers['If-None-Match'], etag)) return { status: 304, body: null, headers: facts };
    return { body: format.read(text), headers: facts };
  },
});

const write = defineRoute({
  operationId: 'writeConfig',
  method: 'PUT',
  path: '/servers/:id/files/config',
  tag: 'files',
  summary: 'Change a file of settings',
  description:
    'Partial, as JSON Merge Patch has it (RFC 7396): objects are merged key by key, null removes a key, lists and all other values are replaced; a file that holds a list takes a whole list. Comments, order and other keys stay, and where single values change in YAML or .properties nothing else does. Without the file there is one afterwards. Servers read most such files when they start, and a running one overwrites its lists of players: see whitelist, ops and bans for these.',
  auth: onServer('files.write'),
  params: idParams,
  query: schema.configFile,
  headers: schema.writeHeaders,
  body,
  success: { status: 200, schema: schema.config, headers: { ETag: 'Of the file as it now is' } },
  errors: ['invalid-config', 'precondition-failed', 'disk-full', ...FILE_FAILURES],
  async handler({ server, query, headers, body: change, signal, requestId }, api) {
    const path = parseInnerPath(query.path);
    const format = formatOf(path);
    const folder = await findFolder(api, server);
    const { text, etag } = await changeText(
      api,
      folder,
      path,
      before => {
        const after = format.change(before.text, change);
        if (path === SERVER_PROPERTIES) assertOwnedKept(server, before.text, after, false);
        return after;
      },
      { headers, call: { signal, requestId } },
    );
    return { body: format.read(text), headers: { ETag: entityTag(etag) } };
  },
});

function formatOf(path: string): ConfigFormat {
  const [, end = ''] = /\.([a-z]+)$/i.exec(fileNameOf(path)) ?? [];
  const format = FORMATS.get(end.toLowerCase());
  if (format) return format;
  throw invalidField('query.path', 'The name of the file must end in .yml, .yaml, .json or .properties');
}

export const configRoutes: Route[] = [read, write];
