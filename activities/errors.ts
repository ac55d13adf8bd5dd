import { ApplicationFailure } from '@temporalio/common';
import { AppError } from '#src/domain/errors.js';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, Next } from '@temporalio/worker';

/**
 * What an AppError is to Temporal: its code becomes the failure's type, and the table says whether a retry can help.
 * The detail is written for callers, so it may stand in a history. `final`: the caller knows better than the table.
 */
export function toFailure(error: AppError, { final = !error.retryable } = {}): ApplicationFailure {
  return ApplicationFailure.create({
    type: error.code,
    message: error.detail,
    nonRetryable: final,
    ...(error.retryAfterS !== undefined && { nextRetryDelay: `${error.retryAfterS}s` }),
  });
}

/** So that activities throw AppErrors like everyone else. */
export class AppErrorInterceptor implements ActivityInboundCallsInterceptor {
  async execute(
    input: ActivityExecuteInput,
    next: Next<ActivityInboundCallsInterceptor, 'execute'>,
  ): Promise<unknown> {
    try {
      return await next(input);
    } catch (error) {
      throw error instanceof AppError ? toFailure(error) : error;
    }
  }
}
