import type { OperationView } from '#src/contracts/operation.js';
import { BASE } from '../context.js';
import type { Reply } from '../route.js';

/** The answer of every pure action. */
export function accepted(operation: OperationView): Reply<OperationView> {
  return { body: operation, headers: operationHeaders(operation.id) };
}

/** Where the operation behind an answer is watched. */
export function operationHeaders(operationId: string): Record<string, string> {
  const path = `${BASE}/operations/${operationId}`;
  return { Location: path, Link: `<${path}>; rel="operation"` };
}

export const OPERATION_HEADERS = {
  Location: 'The operation',
  Link: 'The operation, as `rel="operation"`',
};
