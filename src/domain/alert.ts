/** What an alert is about. One is told once for each occasion, however often it is noticed. */
export const ALERT_CODES = [
  'crash',
  'crash-loop',
  'server-hung',
  // What a console tells of: see consoleCause.ts.
  'crash-report',
  'eula-missing',
  'incompatible-mods',
  'missing-dependency',
  'out-of-memory',
  'overloaded',
  'port-in-use',
  'tick-stalled',
  'world-corrupt',
  'world-locked',
  'wrong-java',
] as const;
export type AlertCode = (typeof ALERT_CODES)[number];

export const SEVERITIES = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What of the alerts goes one way out. */
export interface AlertFilter {
  severities: Severity[];
  /** Never, whatever their severity. */
  muted: AlertCode[];
}

/** Everything is in the list of notifications; this is where else. */
export interface Preferences {
  email: AlertFilter;
  webhook: AlertFilter;
}

/** Quiet: a mailbox gets what somebody has to get up for, a webhook is there to be told. */
export const DEFAULT_PREFERENCES: Preferences = {
  email: { severities: ['critical'], muted: [] },
  webhook: { severities: ['info', 'warning', 'critical'], muted: [] },
};
