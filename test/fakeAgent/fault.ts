import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import { ERRORS, type ErrorCode } from '#src/domain/errors.js';

/** A call that the fake agent refuses, with its reason as the wire contract has it. */
export class Fault extends Error {
  constructor(
    readonly code: ErrorCode,
    detail: string = ERRORS[code].title,
  ) {
    super(detail);
  }

  toStatus(): StatusObject {
    const metadata = new Metadata();
    metadata.set('aymc-code', this.code);
    return { code: status[ERRORS[this.code].grpc], details: this.message, metadata };
  }
}

/** As if the connection had broken on the way back: no reason, no trace. */
export function lostReply(): StatusObject {
  return { code: status.UNAVAILABLE, details: 'Connection dropped', metadata: new Metadata() };
}
