import Joi from 'joi';
import type { MetricsRange } from '#src/db/metricsHistory.js';
import { time } from './fields.js';
import { invalidField } from './parse.js';

const HOUR_S = 3_600;
const DAY_S = 24 * HOUR_S;
const UNIT_S = new Map([
  ['s', 1],
  ['m', 60],
  ['h', HOUR_S],
  ['d', DAY_S],
]);
const MAX_STEP_S = 366 * DAY_S;
const MAX_POINTS = 2_000;
const DEFAULT_POINTS = 500;
const DEFAULT_RANGE_MS = 3_600_000;
/** What people read easily on an axis; beyond the last one, whole days. */
const STEPS_S = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, HOUR_S, 2 * HOUR_S, 6 * HOUR_S, DAY_S];

export interface MetricsQuery {
  from?: string;
  to?: string;
  /** Seconds. */
  step?: number;
}

export const metricsQuery = Joi.object<MetricsQuery>({
  from: time().description('Inclusive; default: an hour before `to`'),
  to: time().description('Exclusive; default: now'),
  step: Joi.string()
    .pattern(/^\d{1,8}[smhd]$/, 'a duration such as 60s, 5m or 1h')
    .custom((text: string, helpers) => {
      const seconds = Number(text.slice(0, -1)) * (UNIT_S.get(text.slice(-1)) ?? 0);
      return seconds >= 1 && seconds <= MAX_STEP_S ? seconds : helpers.error('any.invalid');
    })
    .example('5m')
    .description(
      `Length of a row, 1s to 366d, such as 60s, 5m or 1h; default: the shortest handy one with at most ${DEFAULT_POINTS} rows. More than ${MAX_POINTS} are refused.`,
    ),
});

export const METRICS_DESCRIPTION =
  'A row for each `step`, oldest first, with the beginning of the step as its `timestamp`; steps without a sample are left out. Steps are counted from 1970, so that rows of different requests lie on each other. ';

/** Rejects with `invalid-request` for a range without length, or of too many rows. */
export function readRange({ from, to, step }: MetricsQuery, now = Date.now()): MetricsRange {
  const toMs = to === undefined ? now : Date.parse(to);
  const fromMs = from === undefined ? toMs - DEFAULT_RANGE_MS : Date.parse(from);
  const rangeS = (toMs - fromMs) / 1000;
  if (!(rangeS > 0)) throw invalidField('query.from', '`from` must be before `to`');
  const stepS = step ?? handyStep(rangeS);
  const points = Math.ceil(rangeS / stepS);
  if (points > MAX_POINTS) {
    throw invalidField(
      'query.step',
      `That would be ${points} rows, and ${MAX_POINTS} are the most: choose a step of ${Math.ceil(rangeS / MAX_POINTS)}s or more, or a shorter range`,
    );
  }
  return { from: new Date(fromMs), to: new Date(toMs), stepS };
}

function handyStep(rangeS: number): number {
  const least = rangeS / DEFAULT_POINTS;
  return STEPS_S.find(step => step >= least) ?? Math.ceil(least / DAY_S) * DAY_S;
}
