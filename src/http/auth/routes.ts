import type { Route } from '../route.js';
import { accountRoutes } from './accountRoutes.js';
import { invitationRoutes } from './invitations.js';
import { keyRoutes } from './keyRoutes.js';
import { preferenceRoutes } from './preferenceRoutes.js';
import { resetRoutes } from './resetRoutes.js';
import { sessionRoutes } from './sessionRoutes.js';
import { signInRoutes } from './signIn.js';
import { totpRoutes } from './totpRoutes.js';

export const authRoutes: Route[] = [
  ...signInRoutes,
  ...accountRoutes,
  ...preferenceRoutes,
  ...resetRoutes,
  ...sessionRoutes,
  ...keyRoutes,
  ...totpRoutes,
  ...invitationRoutes,
];
