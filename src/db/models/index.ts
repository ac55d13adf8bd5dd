import type { Sequelize } from 'sequelize';
import { defineAccounts } from './accounts.js';
import { defineAgents } from './agents.js';
import { defineBackups } from './backups.js';
import { defineIdentity } from './identity.js';
import { defineNotices } from './notices.js';
import { defineOperations } from './operations.js';
import { definePlugins } from './plugins.js';
import { defineServers } from './servers.js';
import { defineTelemetry } from './telemetry.js';
import { defineUpstreams } from './upstreams.js';

export type Models = ReturnType<typeof defineModels>;

/** A model for every table, bound to this connection. */
export function defineModels(sequelize: Sequelize) {
  return {
    ...defineIdentity(sequelize),
    ...defineAgents(sequelize),
    ...defineServers(sequelize),
    ...defineOperations(sequelize),
    ...defineTelemetry(sequelize),
    ...definePlugins(sequelize),
    ...defineBackups(sequelize),
    ...defineNotices(sequelize),
    ...defineAccounts(sequelize),
    ...defineUpstreams(sequelize),
  };
}
