import type { Migration } from './migration.js';

/** Backups and when they are made. `deleted_at` is the tombstone: object gone first, then the row. */
export const backups: Migration = {
  name: '0007-backups',
  up: `
    CREATE TABLE backups (
      id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      server_id    uuid        NOT NULL REFERENCES servers ON DELETE CASCADE,
      filename     text        NOT NULL,
      path         text        NOT NULL,
      size_bytes   bigint,
      backup_type  text        NOT NULL DEFAULT 'full' CHECK (backup_type IN ('full', 'world', 'plugins', 'config')),
      status       text        NOT NULL DEFAULT 'pending'
                   CHECK (status IN ('pending', 'in_progress', 'completed', 'failed')),
      compression  text        NOT NULL DEFAULT 'gzip' CHECK (compression IN ('gzip', 'zip', 'tar')),
      trigger      text        NOT NULL DEFAULT 'manual' CHECK (trigger IN ('manual', 'scheduled', 'safety')),
      storage      text        NOT NULL DEFAULT 'local' CHECK (storage IN ('agent', 'local', 's3')),
      sha256       char(64),
      epoch        bigint,
      error_code   text,
      created_by   uuid        REFERENCES users ON DELETE SET NULL,
      created_at   timestamptz NOT NULL DEFAULT now(),
      completed_at timestamptz,
      verified_at  timestamptz,
      deleted_at   timestamptz
    );
    CREATE INDEX backups_server_id_idx ON backups (server_id);
    CREATE INDEX backups_created_at_idx ON backups (created_at DESC);
    CREATE INDEX backups_created_by_idx ON backups (created_by);

    CREATE TABLE backup_configs (
      server_id       uuid PRIMARY KEY REFERENCES servers ON DELETE CASCADE,
      enabled         boolean     NOT NULL DEFAULT false,
      schedule        text        NOT NULL DEFAULT '0 4 * * *',
      timezone        text        NOT NULL DEFAULT 'UTC',
      max_backups     integer     NOT NULL DEFAULT 10 CHECK (max_backups BETWEEN 1 AND 100),
      retention_days  integer     NOT NULL DEFAULT 30 CHECK (retention_days BETWEEN 1 AND 365),
      include_world   boolean     NOT NULL DEFAULT true,
      include_plugins boolean     NOT NULL DEFAULT true,
      include_config  boolean     NOT NULL DEFAULT true,
      include_logs    boolean     NOT NULL DEFAULT false,
      exclude_paths   text[]      NOT NULL DEFAULT ARRAY[]::text[],
      keep_daily      integer     NOT NULL DEFAULT 0 CHECK (keep_daily >= 0),
      keep_weekly     integer     NOT NULL DEFAULT 0 CHECK (keep_weekly >= 0),
      keep_monthly    integer     NOT NULL DEFAULT 0 CHECK (keep_monthly >= 0),
      created_at      timestamptz NOT NULL DEFAULT now(),
      updated_at      timestamptz NOT NULL DEFAULT now()
    );
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON backup_configs FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
  `,
  down: `
    DROP TABLE backup_configs;
    DROP TABLE backups;
  `,
};
