import Joi from 'joi';
import { ALERT_CODES, type AlertCode } from '#src/domain/alert.js';
import { WEBHOOK_FORMATS, type WebhookFormat } from '#src/domain/webhook.js';
import { anyText, boolean, named, readOnly, time, uuid } from '../fields.js';

const url = () => Joi.string().max(2_000).example('https://example.org/hooks/aymc');
const events = () =>
  Joi.array()
    .items(Joi.string().valid(...ALERT_CODES))
    .unique()
    .example(['crash', 'server-hung'])
    .description('Codes of the alerts that it is told; none: all');
const format = () =>
  Joi.string()
    .valid(...WEBHOOK_FORMATS)
    .description('`generic`: the notification as JSON; `discord`: as a webhook of Discord takes it');

export interface WebhookCreation {
  url: string;
  events: AlertCode[];
  format: WebhookFormat;
}
export const creation = Joi.object<WebhookCreation, true>({
  url: url().required(),
  events: events().default([]),
  format: format().default('generic'),
});

const READ_ONLY = ['id', 'failures', 'last_status', 'last_error', 'last_delivery_at'] as const;

export interface WebhookChange extends Partial<WebhookCreation> {
  is_active?: boolean;
}
export const change = Joi.object<WebhookChange>({
  url: url(),
  events: events(),
  format: format(),
  is_active: boolean().description('Switching it on forgets its failures'),
  ...readOnly(...READ_ONLY, 'created_at', 'updated_at'),
});

const facts = {
  id: uuid().required(),
  url: anyText().required(),
  events: events().required(),
  format: format().required(),
  is_active: boolean().required(),
  failures: Joi.number().integer().required().description('Deliveries given up, one after the other'),
  last_status: Joi.number()
    .integer()
    .allow(null)
    .required()
    .description('HTTP status of the newest attempt; null: nobody answered'),
  last_error: Joi.string().allow(null).required().description('Why it failed; null: it succeeded'),
  last_delivery_at: time().allow(null).required().description('Of the newest attempt'),
  created_at: time().required(),
  updated_at: time().required(),
};

export const webhook = named('Webhook', Joi.object(facts));
export const webhooks = Joi.array().items(webhook);
export const createdWebhook = named(
  'CreatedWebhook',
  Joi.object({
    ...facts,
    secret: Joi.string().required().description('Signs every call; never shown again'),
  }),
);
export const trial = Joi.object({ delivery_id: uuid().required() });
