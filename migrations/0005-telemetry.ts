import type { Migration } from './migration.js';

/**
 * Console lines and samples, partitioned by UTC day so that retention is a DROP. No foreign keys: with them, deleting
 * a server would be one giant cascade. The day partitions are made at run time (src/db/ensurePartitions.ts); the
 * DEFAULT ones catch what no day has been made for.
 */
export const telemetry: Migration = {
  name: '0005-telemetry',
  up: `
    CREATE TABLE server_metrics (
      id             bigserial,
      server_id      uuid        NOT NULL,
      "timestamp"    timestamptz NOT NULL DEFAULT now(),
      cpu_percent    double precision,
      memory_used    bigint,
      players_online integer,
      tps            double precision,
      uptime_seconds bigint,
      PRIMARY KEY (id, "timestamp")
    ) PARTITION BY RANGE ("timestamp");
    CREATE INDEX server_metrics_server_id_timestamp_idx ON server_metrics (server_id, "timestamp" DESC);
    CREATE TABLE server_metrics_default PARTITION OF server_metrics DEFAULT;

    CREATE TABLE logs (
      id          bigserial,
      server_id   uuid        NOT NULL,
      "timestamp" timestamptz NOT NULL DEFAULT now(),
      level       text        NOT NULL DEFAULT 'INFO' CHECK (level IN ('INFO', 'WARN', 'ERROR', 'DEBUG')),
      source      text,
      message     text        NOT NULL,
      exception   text,
      stack_trace text,
      run_id      text,
      byte_offset bigint,
      PRIMARY KEY (id, "timestamp")
    ) PARTITION BY RANGE ("timestamp");
    CREATE INDEX logs_server_id_timestamp_idx ON logs (server_id, "timestamp" DESC);
    CREATE TABLE logs_default PARTITION OF logs DEFAULT;

    -- How far the console of a run has been stored. A batch of lines advances its cursor by compare-and-set in its own
    -- transaction, so that two collectors cannot store a line twice.
    CREATE TABLE log_cursors (
      server_id   uuid        NOT NULL REFERENCES servers ON DELETE CASCADE,
      run_id      text        NOT NULL,
      byte_offset bigint      NOT NULL DEFAULT 0,
      updated_at  timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (server_id, run_id)
    );
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON log_cursors FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
  `,
  down: `
    DROP TABLE log_cursors;
    DROP TABLE logs;
    DROP TABLE server_metrics;
  `,
};
