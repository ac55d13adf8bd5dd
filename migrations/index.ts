import { identity } from './0001-identity.js';
import { agents } from './0002-agents.js';
import { servers } from './0003-servers.js';
import { operations } from './0004-operations.js';
import { telemetry } from './0005-telemetry.js';
import { plugins } from './0006-plugins.js';
import { backups } from './0007-backups.js';
import { notices } from './0008-notices.js';
import { console } from './0009-console.js';
import { observation } from './0010-observation.js';
import { accounts } from './0011-accounts.js';
import { deliveries } from './0012-deliveries.js';
import { upstreamVersions } from './0013-upstream-versions.js';
import type { Migration } from './migration.js';

export type { Migration } from './migration.js';

/** Every migration, in order. */
export const MIGRATIONS: readonly Migration[] = [
  identity,
  agents,
  servers,
  operations,
  telemetry,
  plugins,
  backups,
  notices,
  console,
  observation,
  accounts,
  deliveries,
  upstreamVersions,
];
