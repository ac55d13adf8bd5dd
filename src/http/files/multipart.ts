import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy } from '@fastify/busboy';
import { AppError } from '#src/domain/errors.js';
import type { Incoming } from '../bodies.js';

export const FILES_MAX = 20;
const FIELDS_MAX = 5;
const FIELD_BYTES_MAX = 4096;

export interface FormFile {
  name: string;
  /** The fields that came before it. */
  fields: ReadonlyMap<string, string>;
  bytes: Readable;
}

/**
 * Reads a form as it arrives and hands out its files, one after the other; `take` reads each to its end. Answers what it
 * was answered. Rejects with what `take` does, what the body does, or `invalid-request`.
 */
export async function readForm<T>(body: Incoming, take: (file: FormFile) => Promise<T>): Promise<T[]> {
  const form = openForm(body.contentType);
  const fields = new Map<string, string>();
  const taken: T[] = [];
  let current: Readable | undefined;
  let work = Promise.resolve();

  form.on('field', (name, value) => fields.set(name, value));
  form.on('file', (_field, bytes, fileName: string | undefined) => {
    current = bytes;
    // What goes wrong in the middle of a file reaches whoever reads it; without a reader it would end the process.
    bytes.on('error', () => undefined);
    const file = { name: fileName ?? '', fields: new Map(fields), bytes };
    work = work.then(async () => {
      taken.push(await take(file));
    });
    work.catch((error: unknown) => form.destroy(error instanceof Error ? error : undefined));
  });
  for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const) {
    form.on(limit, () =>
      form.destroy(invalid(`A form may bring ${FILES_MAX} files and ${FIELDS_MAX} fields`)),
    );
  }
  try {
    await pipeline(body.bytes, form);
    await work;
    return taken;
  } catch (error) {
    const reason = error instanceof AppError ? error : invalid('The form is not valid', error);
    current?.destroy(reason);
    await work.catch(() => undefined);
    throw reason;
  }
}

function openForm(contentType: string) {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      limits: {
        files: FILES_MAX,
        fields: FIELDS_MAX,
        parts: FILES_MAX + FIELDS_MAX,
        fieldSize: FIELD_BYTES_MAX,
        headerPairs: 20,
        headerSize: 8 * 1024,
      },
    });
  } catch (error) {
    throw invalid('The form has no boundary', error);
  }
}

function invalid(detail: string, cause?: unknown): AppError {
  return new AppError('invalid-request', { detail, cause });
}
