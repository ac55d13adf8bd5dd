/** What an alert is about. One is told once for each occasion, however often it is noticed. */
export const ALERT_CODES = ['crash', 'crash-loop', 'server-hung'] as const;
export type AlertCode = (typeof ALERT_CODES)[number];
