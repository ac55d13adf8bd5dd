import type { ByteRange } from '#src/agents/gateway.js';
import { AppError } from '#src/domain/errors.js';

/** Conditional and range requests, RFC 9110 §13 and §14. Pure. */

const ENTITY_TAG = /^(W\/)?"([\x21\x23-\x7e]*)"$/;

export function entityTag(etag: string): string {
  return `"${etag}"`;
}

/** Whether a file of that tag is one of those named by If-None-Match, where weak tags count, too. */
export function isNamed(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.trim() === '*' || tagsOf(header).some(tag => tag.value === etag);
}

/** …by If-Match or If-Range, where they don't. */
export function isNamedStrongly(header: string, etag: string): boolean {
  return header.trim() === '*' || tagsOf(header).some(tag => !tag.weak && tag.value === etag);
}

function tagsOf(header: string): { weak: boolean; value: string }[] {
  return header.split(',').flatMap(part => {
    const [whole, weak, value = ''] = ENTITY_TAG.exec(part.trim()) ?? [];
    return whole === undefined ? [] : [{ weak: weak !== undefined, value }];
  });
}

/** A 416 that says how long the file is, so that the client can ask better. */
export class RangeNotSatisfiable extends AppError {
  constructor(readonly sizeBytes: number) {
    super('range-not-satisfiable', { detail: `The file has ${sizeBytes} bytes` });
  }
}

/**
 * The one range that is asked for. Undefined for several, and for what is no range of bytes: both are answered with the
 * whole. Throws `range-not-satisfiable` for the last no bytes.
 */
export function parseRange(header: string | undefined): ByteRange | undefined {
  const [whole, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '') ?? [];
  if (whole === undefined || (first === '' && last === '')) return undefined;
  if (first === '') {
    if (Number(last) === 0) throw new AppError('range-not-satisfiable');
    return { offset: -Number(last), length: 0 };
  }
  if (last === '') return { offset: Number(first), length: 0 };
  const length = Number(last) - Number(first) + 1;
  return length < 1 ? undefined : { offset: Number(first), length };
}
