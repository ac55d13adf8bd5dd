import { AppError } from '#src/domain/errors.js';

const FORMAT = /^v1:(0|[1-9]\d{0,15})$/;
const MAX_LENGTH = 64;

/** A place in a channel of events, the same on every api instance. Clients must not look into it: `v1` may get a `v2`. */
export function encodeCursor(seq: number): string {
  return Buffer.from(`v1:${seq}`).toString('base64url');
}

/** Throws `invalid-request` for anything that encodeCursor does not make. */
export function decodeCursor(cursor: string): number {
  const text = cursor.length > MAX_LENGTH ? '' : Buffer.from(cursor, 'base64url').toString();
  const seq = Number(FORMAT.exec(text)?.[1] ?? NaN);
  if (!Number.isSafeInteger(seq) || encodeCursor(seq) !== cursor) {
    throw new AppError('invalid-request', { detail: 'The cursor is not one of this channel' });
  }
  return seq;
}
