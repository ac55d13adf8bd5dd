/** What ended a server by itself. Agents name one of these; a name that we don't know counts as `exit-code`. */
export const CRASH_CODES = [
  'out-of-memory',
  'killed',
  'jvm-crash',
  'watchdog',
  'crash-report',
  'signal',
  'exit-code',
  'unseen',
] as const;
export type CrashCode = (typeof CRASH_CODES)[number];
