import { parseFilePath, parseInnerPath } from '#src/domain/filePath.js';
import { eitherBody, Incoming, jsonBody, streamedBody } from '../bodies.js';
import { idParams } from '../fields.js';
import { defineRoute, type Reply, type Route } from '../route.js';
import { onServer } from '../servers/policy.js';
import { FILE_BYTES_MAX, read, write } from './content.js';
import { configRoutes } from './config.js';
import { FILES_MAX, readForm } from './multipart.js';
import { presentEntry, presentFolder, presentStored, type StoredView } from './presenter.js';
import { readProperties, writeProperties } from './properties.js';
import * as schema from './schema.js';
import { FILE_FAILURES, findFolder } from './serverFolder.js';

const tag = 'files';
/** What a form adds to the files that it carries. */
const FORM_BYTES_MAX = 1024 * 1024;

const list = defineRoute({
  operationId: 'listFiles',
  method: 'GET',
  path: '/servers/:id/files',
  tag,
  summary: 'What is in a folder, by name',
  description:
    'Up to 10,000 entries. Links are listed as links; those that stay within the folder are followed.',
  auth: onServer('files.read'),
  params: idParams,
  query: schema.folder,
  success: { status: 200, schema: schema.entries },
  errors: ['folder-too-large', ...FILE_FAILURES],
  async handler({ server, query, signal, requestId }, { gateway, ...api }) {
    const path = parseFilePath(query.path ?? '');
    const { agent, at } = await findFolder(api, server);
    const entries = await gateway.files.list(agent, at(path), { signal, requestId });
    return { body: entries.map(presentEntry) };
  },
});

const create = defineRoute({
  operationId: 'createFiles',
  method: 'POST',
  path: '/servers/:id/files',
  tag,
  summary: 'Upload files, or make a folder',
  description: `A form brings up to ${FILES_MAX} files of together 1 GiB into the folder \`path\` of the query, or of a field that comes before them. Each is stored by itself, in one step: when one fails, those before it are there. Folders on the way are made.`,
  auth: onServer('files.write'),
  params: idParams,
  query: schema.folder,
  headers: schema.onlyNew,
  body: eitherBody(
    jsonBody(schema.newFolder),
    streamedBody({ type: 'multipart/form-data', maxBytes: FILE_BYTES_MAX + FORM_BYTES_MAX }),
  ),
  success: { status: 201, schema: schema.storedFiles, description: 'What has been made' },
  errors: ['file-exists', 'precondition-failed', 'disk-full', 'too-many-transfers', ...FILE_FAILURES],
  async handler(
    { actor, server, query, headers, body, signal, requestId },
    { gateway, transfers, ...api },
  ): Promise<Reply<StoredView[]>> {
    const call = { signal, requestId };
    const { agent, at } = await findFolder(api, server);
    if (!(body instanceof Incoming)) {
      const path = parseInnerPath(body.path);
      return { body: [presentFolder(await gateway.files.makeFolder(agent, at(path), call))] };
    }
    const expected = headers['If-None-Match'] === undefined ? 'anything' : 'nothing';
    const rules = { expected, createFolders: true } as const;
    const release = transfers.begin(actor.id);
    try {
      const stored = await readForm(body, async ({ name, fields, bytes }) => {
        const folder = parseFilePath(fields.get('path') ?? query.path ?? '');
        const path = parseFilePath(`${folder}/${parseInnerPath(name)}`);
        return presentStored(await gateway.files.upload(agent, at(path), rules, bytes, call));
      });
      return { body: stored };
    } finally {
      release();
    }
  },
});

const remove = defineRoute({
  operationId: 'deleteFile',
  method: 'DELETE',
  path: '/servers/:id/files',
  tag,
  summary: 'Delete a file, or a folder with all that is in it',
  auth: onServer('files.write'),
  params: idParams,
  query: schema.file,
  success: { status: 204 },
  errors: FILE_FAILURES,
  async handler({ server, query, signal, requestId }, { gateway, ...api }) {
    const path = parseInnerPath(query.path);
    const { agent, at } = await findFolder(api, server);
    await gateway.files.remove(agent, at(path), { signal, requestId });
    return { body: null };
  },
});

const rename = defineRoute({
  operationId: 'renameFile',
  method: 'POST',
  path: '/servers/:id/files/rename',
  tag,
  summary: 'Give a file or folder another name, or another place',
  description: 'Never over something that is there.',
  auth: onServer('files.write'),
  params: idParams,
  body: schema.renaming,
  success: { status: 200, schema: schema.entry },
  errors: ['file-exists', ...FILE_FAILURES],
  async handler({ server, body, signal, requestId }, { gateway, ...api }) {
    const [from, to] = [parseInnerPath(body.from), parseInnerPath(body.to)];
    const { agent, at } = await findFolder(api, server);
    const facts = await gateway.files.rename(agent, at(from), to, { signal, requestId });
    return { body: presentEntry(facts) };
  },
});

export const fileRoutes: Route[] = [
  list,
  create,
  remove,
  rename,
  read,
  write,
  readProperties,
  writeProperties,
  ...configRoutes,
];
