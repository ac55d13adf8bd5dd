import type { WebhookActivities } from '#src/contracts/activities.js';
import type { Database } from '#src/db/connect.js';
import { removeDelivery } from '#src/db/deliveries.js';
import { buryDelivery, findWebhookCall, noteAttemptFailed, noteDelivered } from '#src/db/webhooks.js';
import { AppError } from '#src/domain/errors.js';
import type { UrlRule } from '#src/security/publicUrl.js';
import { signatureOf, webhookMessage } from '#src/webhooks/message.js';
import { postJson } from '#src/webhooks/post.js';

export interface WebhookDeps {
  db: Database;
  /** Unseals `webhooks.secret`. */
  openToken: (sealed: string) => string;
  urls: UrlRule;
}

export function createWebhookActivities({ db, openToken, urls }: WebhookDeps): WebhookActivities {
  return {
    async callWebhook({ deliveryId }) {
      const call = await findWebhookCall(db, deliveryId);
      if (!call) return removeDelivery(db, deliveryId);
      const { webhook, notification } = call;
      const { event, body } = webhookMessage(webhook.format, deliveryId, notification);
      const timestamp = String(Math.floor(Date.now() / 1000));
      const headers = {
        'X-AYMC-Event': event,
        'X-AYMC-Delivery': deliveryId,
        'X-AYMC-Timestamp': timestamp,
        'X-AYMC-Signature': signatureOf(openToken(webhook.secret), timestamp, body),
      };
      let status: number | null = null;
      try {
        status = await postJson(webhook.url, body, headers, urls);
        if (status < 200 || status > 299) {
          throw new AppError('webhook-failed', { detail: `It answered ${status}` });
        }
      } catch (error) {
        const failure = error instanceof AppError ? error : new AppError('internal', { cause: error });
        await noteAttemptFailed(db, { webhookId: webhook.id, status, error: failure.code });
        throw failure;
      }
      await noteDelivered(db, { deliveryId, webhookId: webhook.id, status });
    },

    buryDelivery: ({ deliveryId }) => buryDelivery(db, deliveryId),
  };
}
