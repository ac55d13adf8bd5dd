export const WEBHOOK_FORMATS = ['generic', 'discord'] as const;
export type WebhookFormat = (typeof WEBHOOK_FORMATS)[number];

/** So many deliveries given up in a row switch a webhook off. */
export const WEBHOOK_FAILURES_MAX = 5;
/** A user's. */
export const WEBHOOKS_MAX = 10;
