import { ActivityCancellationType, proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
import type { ActivityOptions } from '@temporalio/workflow';
import type { AgentActivities, AgentWork, OperationActivities } from '#src/contracts/activities.js';
import { TASK_QUEUES } from '#src/contracts/temporal.js';

/**
 * Short idempotent database steps. `localRetryThreshold` turns a dead Postgres into a timer: otherwise the retries
 * would keep a workflow task open that no cancel can reach.
 */
const databaseStep = {
  startToCloseTimeout: '2s',
  localRetryThreshold: '2s',
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '5s' },
} as const;

const patient = { ...databaseStep, scheduleToCloseTimeout: '10m' } as const;
const steps = proxyLocalActivities<OperationActivities>(patient);
export const { beginOperation, markInstalled, markUpgraded, noteUndone, readDesiredState } = steps;

export const transitionServer: OperationActivities['transitionServer'] = input =>
  steps.transitionServer.executeWithOptions({ ...patient, summary: input.event }, [input]);

/** Without an end in sight: an outcome that happened must be recorded, however long Postgres is away. */
export const { finishOperation } = proxyLocalActivities<OperationActivities>({
  ...databaseStep,
  scheduleToCloseTimeout: '365d',
});

const onAgent = {
  // A cancelled step reports how it really ended: the agent may have finished first.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: { initialInterval: '200ms', backoffCoefficient: 2, maximumInterval: '5s' },
} satisfies ActivityOptions;

const transfer = {
  taskQueue: TASK_QUEUES.transfer,
  startToCloseTimeout: '2h',
  scheduleToCloseTimeout: '6h',
  heartbeatTimeout: '15s',
} as const;

const LIMITS: Record<AgentWork, ActivityOptions> = {
  provision: transfer,
  stage: transfer,
  // As long as a world is big.
  snapshot: transfer,
  revert: { startToCloseTimeout: '10m', scheduleToCloseTimeout: '1h', heartbeatTimeout: '5s' },
  discard: { startToCloseTimeout: '10m', scheduleToCloseTimeout: '1h', heartbeatTimeout: '5s' },
  start: { startToCloseTimeout: '3m', scheduleToCloseTimeout: '10m', heartbeatTimeout: '5s' },
  stop: { startToCloseTimeout: '90s', scheduleToCloseTimeout: '5m', heartbeatTimeout: '5s' },
  kill: { startToCloseTimeout: '15s', scheduleToCloseTimeout: '1m', heartbeatTimeout: '5s' },
  delete: { startToCloseTimeout: '5m', scheduleToCloseTimeout: '30m', heartbeatTimeout: '5s' },
  installJava: {
    taskQueue: TASK_QUEUES.transfer,
    startToCloseTimeout: '1h',
    scheduleToCloseTimeout: '3h',
    heartbeatTimeout: '15s',
  },
};

/** What each is limited to is said with its call. */
const agent = proxyActivities<AgentActivities>({ ...onAgent, ...LIMITS.start });

/** The activity of each kind of work, with the summary that operators read beside it. */
export function agentActivity(work: AgentWork, summary: string): AgentActivities[`${AgentWork}OnAgent`] {
  const activity = agent[`${work}OnAgent`];
  return input => activity.executeWithOptions({ ...onAgent, ...LIMITS[work], summary }, [input]);
}
