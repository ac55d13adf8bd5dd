import type { CallOptions, UploadRules } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';
import { fileNameOf } from '#src/domain/filePath.js';
import type { Api } from '../deps.js';
import { isNamedStrongly } from './conditions.js';
import { known } from './presenter.js';
import type { WriteHeaders } from './schema.js';
import type { ServerFolder } from './serverFolder.js';

/** Of files that are read whole. */
export const TEXT_BYTES_MAX = 1024 * 1024;
/** Of changes that meet one another, and of looks at a file that is being written. */
const ATTEMPTS_MAX = 5;

/** One byte a character (latin1), so that nothing changes on its way through us. */
export interface TextFile {
  text: string;
  /** Null: there is none. */
  etag: string | null;
}

/**
 * A server writes its files in place: one that was cut while it was read is read again. Rejects with `body-too-large`,
 * and like every call about files.
 */
export async function loadText(
  { gateway }: Pick<Api, 'gateway'>,
  folder: ServerFolder,
  path: string,
  call: CallOptions,
): Promise<TextFile> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readText(gateway, folder, path, call);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      if (error.code === 'file-not-found') return { text: '', etag: null };
      if (error.code !== 'file-changing' || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}

async function readText(
  gateway: Api['gateway'],
  { agent, at }: ServerFolder,
  path: string,
  call: CallOptions,
): Promise<TextFile> {
  const { opened, content } = await gateway.files.download(agent, at(path), { offset: 0, length: 0 }, call);
  if (opened.length > TEXT_BYTES_MAX) {
    await content.return();
    throw new AppError('body-too-large', {
      detail: `${fileNameOf(path)} has more than ${TEXT_BYTES_MAX} bytes`,
    });
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return { text: Buffer.concat(chunks).toString('latin1'), etag: known(opened.facts).etag };
}

/**
 * Reads, changes and writes over what was read and nothing else; a change that another one overtook is made again on
 * what that has left. Answers the file as it then is. Rejects with `precondition-failed` when the headers name another
 * file, or when the file does not come to rest.
 */
export async function changeText(
  api: Pick<Api, 'gateway'>,
  folder: ServerFolder,
  path: string,
  change: (before: TextFile) => string,
  { headers = {}, call }: { headers?: WriteHeaders; call: CallOptions },
): Promise<{ text: string; etag: string }> {
  for (let attempt = 1; ; attempt++) {
    const before = await loadText(api, folder, path, call);
    assertNamed(headers, before);
    const text = change(before);
    try {
      return { text, etag: await storeText(api, folder, path, before, text, call) };
    } catch (error) {
      const isRace = error instanceof AppError && error.code === 'precondition-failed';
      if (!isRace || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}

async function storeText(
  { gateway }: Pick<Api, 'gateway'>,
  { agent, at }: ServerFolder,
  path: string,
  { text: before, etag }: TextFile,
  text: string,
  call: CallOptions,
): Promise<string> {
  if (etag !== null && text === before) return etag;
  if (text.length > TEXT_BYTES_MAX) {
    throw new AppError('body-too-large', { detail: `It would have more than ${TEXT_BYTES_MAX} bytes` });
  }
  const expected: UploadRules['expected'] = etag === null ? 'nothing' : { etag };
  const content = (async function* () {
    yield Buffer.from(text, 'latin1');
  })();
  const rules = { expected, createFolders: false };
  const stored = await gateway.files.upload(agent, at(path), rules, content, call);
  return known(stored.facts).etag;
}

function assertNamed(headers: WriteHeaders, { etag }: TextFile): void {
  const ifMatch = headers['If-Match'];
  const isWanted = ifMatch === undefined || (etag !== null && isNamedStrongly(ifMatch, etag));
  const isNew = headers['If-None-Match'] === undefined || etag === null;
  if (!isWanted || !isNew) throw new AppError('precondition-failed');
}
