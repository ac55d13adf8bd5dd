import type { Migration } from './migration.js';

/** What people are told, where else it is sent, and who did what. */
export const notices: Migration = {
  name: '0008-notices',
  up: `
    CREATE TABLE notifications (
      id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
      dedupe_key text,
      type       text        NOT NULL,
      severity   text        NOT NULL DEFAULT 'info' CHECK (severity IN ('info', 'warning', 'critical')),
      title      text        NOT NULL,
      body       text        NOT NULL DEFAULT '',
      data       jsonb       NOT NULL DEFAULT '{}',
      server_id  uuid,
      read_at    timestamptz,
      created_at timestamptz NOT NULL DEFAULT now(),
      UNIQUE (user_id, dedupe_key)
    );
    CREATE INDEX notifications_user_id_created_at_idx ON notifications (user_id, created_at DESC);
    COMMENT ON COLUMN notifications.dedupe_key IS 'made by the writer, so that its retry tells nobody twice';

    CREATE TABLE webhooks (
      id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id          uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
      url              text        NOT NULL,
      secret           text        NOT NULL,
      events           text[]      NOT NULL DEFAULT ARRAY[]::text[],
      is_active        boolean     NOT NULL DEFAULT true,
      failures         integer     NOT NULL DEFAULT 0,
      last_status      integer,
      last_delivery_at timestamptz,
      created_at       timestamptz NOT NULL DEFAULT now(),
      updated_at       timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX webhooks_user_id_idx ON webhooks (user_id);
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON webhooks FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
    COMMENT ON COLUMN webhooks.secret IS 'sealed with the control plane''s key; never readable here';

    -- No foreign keys: the record outlives those it speaks of, so it keeps their names too.
    CREATE TABLE audit_log (
      id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      actor_id    uuid,
      actor_name  text,
      action      text        NOT NULL,
      target_type text,
      target_id   uuid,
      request_id  text,
      ip_address  text,
      data        jsonb       NOT NULL DEFAULT '{}',
      at          timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX audit_log_at_idx ON audit_log (at DESC);
    CREATE INDEX audit_log_actor_id_idx ON audit_log (actor_id, at DESC);
    CREATE INDEX audit_log_target_id_idx ON audit_log (target_id, at DESC);
  `,
  down: `
    DROP TABLE audit_log;
    DROP TABLE webhooks;
    DROP TABLE notifications;
  `,
};
