/** Every workflow, by the type name that its file bears. */
export { startServer } from './startServer.js';
export { stopServer } from './stopServer.js';
export { restartServer } from './restartServer.js';
export { killServer } from './killServer.js';
export { provisionServer } from './provisionServer.js';
export { deleteServer } from './deleteServer.js';
export { installJava } from './installJava.js';
export { upgradeServer } from './upgradeServer.js';
export { reconcile } from './reconcile.js';
export { healthSweep } from './healthSweep.js';
export { maintainPartitions } from './maintainPartitions.js';
export { agentLink } from './agentLink.js';
export { deliverNotification } from './deliverNotification.js';
export { deliverWebhook } from './deliverWebhook.js';
