import { proxyActivities, setCurrentDetails, sleep } from '@temporalio/workflow';
import type { RetentionActivities } from '#src/contracts/activities.js';

const { maintainPartitions: maintain } = proxyActivities<RetentionActivities>({
  startToCloseTimeout: '1h',
  scheduleToCloseTimeout: '12h',
  heartbeatTimeout: '1m',
  retry: { maximumInterval: '5m' },
  summary: 'Make days ahead, drop days past their retention',
});

/** Whoever reads a day that is to go for long is waited out; after so many looks the next day's round tries again. */
const LOOKS = 6;

/** Makes the day partitions ahead, and removes what is past its retention. Started by its schedule, once a day. */
export async function maintainPartitions(): Promise<{ made: number; dropped: number; busy: string[] }> {
  const sum = { made: 0, dropped: 0 };
  for (let look = 1; ; look++) {
    const { made, dropped, busy } = await maintain();
    sum.made += made.length;
    sum.dropped += dropped.length;
    if (busy.length === 0 || look === LOOKS) return { ...sum, busy };
    setCurrentDetails(`Being read, so not dropped yet: ${busy.join(', ')}`);
    await sleep('10m', { summary: 'Wait for readers' });
  }
}
