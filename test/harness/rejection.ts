import { AppError } from '#src/domain/errors.js';

/** The code with which a promise rejects; fails the test when it resolves, or with anything but an AppError. */
export async function rejectionCode(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
  throw new Error('it was expected to reject, and resolved');
}
