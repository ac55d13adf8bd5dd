import type { Migration } from './migration.js';

/** What waits to be sent is a mail or a call of a webhook; and users say what of their alerts goes where. */
export const deliveries: Migration = {
  name: '0012-deliveries',
  up: `
    ALTER TABLE users ADD COLUMN preferences jsonb;
    COMMENT ON COLUMN users.preferences IS 'null = the defaults';

    ALTER TABLE webhooks
      ADD COLUMN format text NOT NULL DEFAULT 'generic' CHECK (format IN ('generic', 'discord')),
      ADD COLUMN last_error text;
    COMMENT ON COLUMN webhooks.failures IS 'deliveries given up, one after the other; a success begins anew';

    CREATE INDEX notifications_server_id_created_at_idx ON notifications (server_id, created_at DESC);

    ALTER TABLE mails RENAME TO deliveries;
    ALTER TABLE deliveries RENAME CONSTRAINT mails_pkey TO deliveries_pkey;
    ALTER INDEX mails_dispatch_after_idx RENAME TO deliveries_dispatch_after_idx;
    ALTER TABLE deliveries
      ALTER COLUMN template DROP NOT NULL,
      ALTER COLUMN address DROP NOT NULL,
      ADD COLUMN webhook_id uuid REFERENCES webhooks ON DELETE CASCADE,
      ADD COLUMN notification_id uuid REFERENCES notifications ON DELETE CASCADE,
      ADD CHECK (num_nonnulls(template, address) = CASE WHEN webhook_id IS NULL THEN 2 ELSE 0 END);
    CREATE INDEX deliveries_webhook_id_idx ON deliveries (webhook_id);
    CREATE INDEX deliveries_notification_id_idx ON deliveries (notification_id);
    COMMENT ON TABLE deliveries IS 'mails and calls of webhooks that were not made yet; a row goes when it has gone';
    COMMENT ON COLUMN deliveries.notification_id IS 'null = a mail about something else, or a trial of the webhook';
  `,
  down: `
    DELETE FROM deliveries WHERE webhook_id IS NOT NULL OR notification_id IS NOT NULL;
    ALTER TABLE deliveries
      DROP COLUMN notification_id,
      DROP COLUMN webhook_id,
      ALTER COLUMN address SET NOT NULL,
      ALTER COLUMN template SET NOT NULL;
    ALTER INDEX deliveries_dispatch_after_idx RENAME TO mails_dispatch_after_idx;
    ALTER TABLE deliveries RENAME CONSTRAINT deliveries_pkey TO mails_pkey;
    ALTER TABLE deliveries RENAME TO mails;
    COMMENT ON TABLE mails IS 'mails that were not sent yet; a row goes when its mail has gone';
    DROP INDEX notifications_server_id_created_at_idx;
    COMMENT ON COLUMN webhooks.failures IS NULL;
    ALTER TABLE webhooks DROP COLUMN last_error, DROP COLUMN format;
    ALTER TABLE users DROP COLUMN preferences;
  `,
};
