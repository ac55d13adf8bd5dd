import { Readable } from 'node:stream';
import type { ByteRange, CallOptions, Download, UploadRules } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';
import { fileNameOf, parseInnerPath } from '#src/domain/filePath.js';
import { streamedBody } from '../bodies.js';
import type { Api } from '../deps.js';
import { idParams } from '../fields.js';
import { defineRoute, type Reply } from '../route.js';
import { onServer } from '../servers/policy.js';
import { entityTag, isNamed, isNamedStrongly, parseRange, RangeNotSatisfiable } from './conditions.js';
import { attachment, contentTypeOf } from './contentType.js';
import { known, presentStored } from './presenter.js';
import * as schema from './schema.js';
import { FILE_FAILURES, findFolder, type ServerFolder } from './serverFolder.js';

export const FILE_BYTES_MAX = 1024 ** 3;
const WHOLE: ByteRange = { offset: 0, length: 0 };
/** May be kept, but asked about each time. */
const CACHE_CONTROL = 'private, no-cache';

export const read = defineRoute({
  operationId: 'readFile',
  method: 'GET',
  path: '/servers/:id/files/content',
  tag: 'files',
  summary: 'The bytes of a file',
  description: 'At the pace of the client, however large the file is.',
  auth: onServer('files.read'),
  params: idParams,
  query: schema.file,
  headers: schema.readHeaders,
  success: {
    status: 200,
    contentType: '*/*',
    otherStatuses: { 206: 'The range that was asked for', 304: 'It is still the one that was named' },
    headers: {
      ETag: 'Of the whole file; strong',
      'Accept-Ranges': '`bytes`',
      'Content-Range': 'With 206',
      'Content-Disposition': 'Always an attachment',
      'Last-Modified': 'When it was written',
    },
  },
  errors: ['range-not-satisfiable', 'too-many-transfers', ...FILE_FAILURES],
  async handler({ actor, server, query, headers, signal, requestId }, api) {
    const path = parseInnerPath(query.path);
    const range = parseRange(headers.Range);
    const folder = await findFolder(api, server);
    const release = api.transfers.begin(actor.id);
    try {
      const download = await openFile(api, folder, path, range, headers['If-Range'], { signal, requestId });
      const reply = await answer(download, path, headers['If-None-Match']);
      if (reply.body === null) release();
      else reply.body.once('close', release);
      return reply;
    } catch (error) {
      release();
      throw error;
    }
  },
});

/** The range of the file; the whole of it when If-Range names another one. */
async function openFile(
  { gateway }: Api,
  { agent, at }: ServerFolder,
  path: string,
  range: ByteRange | undefined,
  ifRange: string | undefined,
  call: CallOptions,
): Promise<Download & { isPart: boolean }> {
  const download = await gateway.files.download(agent, at(path), range ?? WHOLE, call);
  if (range === undefined) return { ...download, isPart: false };
  const { facts, length } = download.opened;
  if (ifRange !== undefined && !isNamedStrongly(ifRange, known(facts).etag)) {
    await download.content.return();
    return { ...(await gateway.files.download(agent, at(path), WHOLE, call)), isPart: false };
  }
  if (length === 0) {
    await download.content.return();
    throw new RangeNotSatisfiable(known(facts).sizeBytes);
  }
  return { ...download, isPart: true };
}

async function answer(
  { opened, content, isPart }: Download & { isPart: boolean },
  path: string,
  ifNoneMatch: string | undefined,
): Promise<Reply<Readable | null>> {
  const { etag, modifiedMs, sizeBytes } = known(opened.facts);
  const headers = {
    ETag: entityTag(etag),
    'Cache-Control': CACHE_CONTROL,
    'Last-Modified': new Date(modifiedMs).toUTCString(),
  };
  if (isNamed(ifNoneMatch, etag)) {
    await content.return();
    return { status: 304, body: null, headers };
  }
  const { offset, length } = opened;
  return {
    status: isPart ? 206 : 200,
    body: Readable.from(content, { objectMode: false }),
    headers: {
      ...headers,
      'Accept-Ranges': 'bytes',
      'Content-Type': contentTypeOf(fileNameOf(path)),
      'Content-Length': String(length),
      'Content-Disposition': attachment(fileNameOf(path)),
      ...(isPart && { 'Content-Range': `bytes ${offset}-${offset + length - 1}/${sizeBytes}` }),
    },
  };
}

export const write = defineRoute({
  operationId: 'writeFile',
  method: 'PUT',
  path: '/servers/:id/files/content',
  tag: 'files',
  summary: 'Replace the bytes of a file, or make one',
  description:
    'In one step: until all of it has arrived the file is what it was. Folders on the way are made. With If-Match, of several who change the same file at the same time one succeeds.',
  auth: onServer('files.write'),
  params: idParams,
  query: schema.file,
  headers: schema.writeHeaders,
  body: streamedBody({ type: '*/*', maxBytes: FILE_BYTES_MAX }),
  success: { status: 200, schema: schema.stored, headers: { ETag: 'Of the file as it now is' } },
  errors: ['precondition-failed', 'disk-full', 'too-many-transfers', ...FILE_FAILURES],
  async handler({ actor, server, query, headers, body, signal, requestId }, api) {
    const path = parseInnerPath(query.path);
    const folder = await findFolder(api, server);
    const release = api.transfers.begin(actor.id);
    try {
      const call = { signal, requestId };
      const rules = { expected: await expectedBy(headers, api, folder, path, call), createFolders: true };
      const stored = await api.gateway.files.upload(folder.agent, folder.at(path), rules, body.bytes, call);
      return { body: presentStored(stored), headers: { ETag: entityTag(known(stored.facts).etag) } };
    } finally {
      release();
    }
  },
});

/** Looked at now, so that nobody sends a gigabyte for nothing, and by the agent in the moment in which it counts. */
export async function expectedBy(
  headers: schema.WriteHeaders,
  { gateway }: Api,
  { agent, at }: ServerFolder,
  path: string,
  call: CallOptions,
): Promise<UploadRules['expected']> {
  const ifMatch = headers['If-Match'];
  if (ifMatch === undefined) return headers['If-None-Match'] === undefined ? 'anything' : 'nothing';
  const { opened, content } = await gateway.files
    .download(agent, at(path), WHOLE, call)
    .catch((error: unknown) => {
      const isMissing = error instanceof AppError && error.code === 'file-not-found';
      throw isMissing ? new AppError('precondition-failed', { cause: error }) : error;
    });
  await content.return();
  const { etag } = known(opened.facts);
  if (!isNamedStrongly(ifMatch, etag)) throw new AppError('precondition-failed');
  return { etag };
}
