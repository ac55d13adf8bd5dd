import { agentRoutes } from './agents/routes.js';
import { leaseRoutes } from './agents/lease.js';
import { auditRoutes } from './audit/routes.js';
import { authRoutes } from './auth/routes.js';
import { fileRoutes } from './files/routes.js';
import { notificationRoutes } from './notifications/routes.js';
import { operationRoutes } from './operations/routes.js';
import type { Route } from './route.js';
import { serverRoutes } from './servers/routes.js';
import { serverTypeRoutes } from './serverTypes/routes.js';
import { systemRoutes } from './system/routes.js';
import { userRoutes } from './users/routes.js';
import { webhookRoutes } from './webhooks/routes.js';

/** Every route there is: what the router mounts, what the docs describe and what the tests walk through. */
export const ROUTES: readonly Route[] = [
  ...authRoutes,
  ...userRoutes,
  ...auditRoutes,
  ...notificationRoutes,
  ...webhookRoutes,
  ...agentRoutes,
  ...leaseRoutes,
  ...serverRoutes,
  ...serverTypeRoutes,
  ...fileRoutes,
  ...operationRoutes,
  ...systemRoutes,
];
