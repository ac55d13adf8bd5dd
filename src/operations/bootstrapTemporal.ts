import type { Client, ScheduleOptions, ScheduleOptionsStartWorkflowAction } from '@temporalio/client';
import { ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { Connection, Workflow } from '@temporalio/client';
import type { NativeConnection } from '@temporalio/worker';
import { SCHEDULES, SEARCH_ATTRIBUTES, TASK_QUEUES, WORKFLOW_TASK_TIMEOUT } from '#src/contracts/temporal.js';
import { ensureAgentLinks } from './agentLinks.js';

export interface Cadence {
  reconcileMs: number;
  healthMs: number;
}

const DAY_MS = 86_400_000;

/** temporal.api.enums.v1.IndexedValueType; its generated enum has no named ESM export. */
const KEYWORD = 2;
const INT = 3;
const BOOL = 5;

const ATTRIBUTE_TYPES: Record<string, typeof KEYWORD | typeof INT | typeof BOOL> = {
  [SEARCH_ATTRIBUTES.serverId]: KEYWORD,
  [SEARCH_ATTRIBUTES.agentId]: KEYWORD,
  [SEARCH_ATTRIBUTES.userId]: KEYWORD,
  [SEARCH_ATTRIBUTES.kind]: KEYWORD,
  [SEARCH_ATTRIBUTES.outcome]: KEYWORD,
  [SEARCH_ATTRIBUTES.trigger]: KEYWORD,
  [SEARCH_ATTRIBUTES.needsOperator]: BOOL,
  [SEARCH_ATTRIBUTES.epoch]: INT,
};

/**
 * Makes the search attributes that are missing. Idempotent. Rejects when it may not: a worker without them would fail
 * every workflow, so it does not start.
 */
export async function ensureSearchAttributes(
  connection: Connection | NativeConnection,
  namespace: string,
): Promise<void> {
  const known = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.entries(ATTRIBUTE_TYPES).filter(([name]) => !(name in known.customAttributes));
  if (missing.length === 0) return;
  await connection.operatorService.addSearchAttributes({
    namespace,
    searchAttributes: Object.fromEntries(missing),
  });
}

/** The standing work of an installation: schedules, and the first link to agents; the reconciler adds more. Idempotent. */
export async function ensureStandingWork(client: Client, cadence: Cadence): Promise<void> {
  await ensureSchedule(client, {
    id: SCHEDULES.health(0),
    workflowType: 'healthSweep',
    everyMs: cadence.healthMs,
    summary: 'Ping all agents',
  });
  await ensureSchedule(client, {
    id: SCHEDULES.reconcile(0),
    workflowType: 'reconcile',
    everyMs: cadence.reconcileMs,
    summary: 'Compare agents, Postgres and Temporal',
  });
  await ensureSchedule(client, {
    id: SCHEDULES.partitions,
    workflowType: 'maintainPartitions',
    everyMs: DAY_MS,
    summary: 'Make day partitions, drop those past their retention',
  });
  await ensureAgentLinks(client.workflow, 0);
}

interface StandingSchedule {
  id: string;
  workflowType: string;
  everyMs: number;
  /** What operators read beside each of its workflows. */
  summary: string;
}

async function ensureSchedule(
  client: Client,
  { id: scheduleId, workflowType, everyMs, summary }: StandingSchedule,
): Promise<void> {
  const schedule: Pick<
    ScheduleOptions<ScheduleOptionsStartWorkflowAction<Workflow>>,
    'spec' | 'action' | 'policies'
  > = {
    spec: { intervals: [{ every: everyMs }] },
    action: {
      type: 'startWorkflow',
      workflowType,
      taskQueue: TASK_QUEUES.workflows,
      args: [],
      workflowTaskTimeout: WORKFLOW_TASK_TIMEOUT,
      staticSummary: summary,
    },
    // A late look is worth nothing: the next one sees the same and more.
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '10s' },
  };
  try {
    await client.schedule.create({ scheduleId, ...schedule, state: { triggerImmediately: true } });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    const handle = client.schedule.getHandle(scheduleId);
    await handle.update(previous => ({ ...previous, ...schedule }));
    await handle.trigger(ScheduleOverlapPolicy.SKIP);
  }
}
