import type { KeyObject } from 'node:crypto';
import type { ParameterizedContext } from 'koa';
import type { Logger } from '#src/observability/logger.js';

/** What our middleware leaves on a request for those behind it. */
export interface ApiState {
  requestId: string;
  log: Logger;
  /** The template of the route that answered, for metrics: paths with ids would be a label each. */
  route?: string;
  /** For koa-jwt. */
  secret?: KeyObject;
  /** What koa-jwt read from the token. */
  claims?: unknown;
  /** Who asked, once known; for the log. */
  userId?: string;
}

export type ApiContext = ParameterizedContext<ApiState>;

export const BASE = '/api/v1';
