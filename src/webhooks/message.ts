import { createHmac } from 'node:crypto';
import type { WebhookFormat } from '#src/domain/webhook.js';
import type { NotificationRow } from '#src/db/types.js';

export interface WebhookMessage {
  /** An alert's code, or `test`. */
  event: string;
  body: string;
}

type Told = Pick<
  NotificationRow,
  'id' | 'type' | 'severity' | 'title' | 'body' | 'data' | 'server_id' | 'created_at'
>;

const COLOURS = { info: 0x3498db, warning: 0xf1c40f, critical: 0xe74c3c } as const;
/** Discord's own. */
const TITLE_MAX = 256;
const DESCRIPTION_MAX = 4_096;

/** What a webhook is sent; without a notification, a trial. */
export function webhookMessage(
  format: WebhookFormat,
  deliveryId: string,
  notification: NotificationRow | null,
): WebhookMessage {
  const told = notification ?? trialOf(deliveryId);
  const event = typeof told.data['code'] === 'string' ? told.data['code'] : told.type;
  const body = format === 'discord' ? discordOf(told) : { id: deliveryId, event, notification: viewOf(told) };
  return { event, body: JSON.stringify(body) };
}

/** The value of `X-AYMC-Signature`. `timestamp`: in seconds, as in its own header. */
export function signatureOf(secret: string, timestamp: string, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
}

function trialOf(id: string): Told {
  const title = 'AYMC reaches this webhook';
  const facts = { type: 'test', severity: 'info', server_id: null, data: {} } as const;
  return {
    id,
    title,
    body: 'Nothing has happened: somebody asked for this.',
    created_at: new Date(),
    ...facts,
  };
}

function viewOf({ id, type, severity, title, body, data, server_id, created_at }: Told) {
  return { id, type, severity, title, body, data, server_id, created_at: created_at.toISOString() };
}

/** A name of a server mentions nobody, whatever it says. */
function discordOf({ severity, title, body, created_at }: Told) {
  const embed = {
    title: title.slice(0, TITLE_MAX),
    description: body.slice(0, DESCRIPTION_MAX),
    color: COLOURS[severity],
    timestamp: created_at.toISOString(),
  };
  return { content: '', embeds: [embed], allowed_mentions: { parse: [] } };
}
