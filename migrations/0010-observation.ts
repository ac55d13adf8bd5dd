import type { Migration } from './migration.js';

/**
 * What agents tell beside their consoles: samples, crashes, leases; and alerts in an order of their own for each user,
 * so that a socket can go on where it stopped.
 */
export const observation: Migration = {
  name: '0010-observation',
  up: `
    ALTER TABLE server_metrics ADD COLUMN disk_used bigint;

    CREATE TABLE agent_metrics (
      id               bigserial,
      agent_id         uuid        NOT NULL,
      "timestamp"      timestamptz NOT NULL DEFAULT now(),
      cpu_percent      double precision,
      memory_total     bigint,
      memory_used      bigint,
      disk_total       bigint,
      disk_used        bigint,
      network_sent     bigint,
      network_received bigint,
      PRIMARY KEY (id, "timestamp")
    ) PARTITION BY RANGE ("timestamp");
    CREATE INDEX agent_metrics_agent_id_timestamp_idx ON agent_metrics (agent_id, "timestamp" DESC);
    CREATE TABLE agent_metrics_default PARTITION OF agent_metrics DEFAULT;

    CREATE TABLE sample_cursors (
      agent_id    uuid        PRIMARY KEY REFERENCES agents ON DELETE CASCADE,
      incarnation text        NOT NULL,
      seq         bigint      NOT NULL,
      -- The agent's rows and those of its servers all carry it, and it only grows.
      last_at     timestamptz NOT NULL
    );

    ALTER TABLE agents ADD COLUMN lease_renewed_at timestamptz;

    -- Until now the policy did nothing and agents had no leases: what nobody asked for stops no server.
    UPDATE servers SET failover_policy = 'never';
    ALTER TABLE servers ALTER COLUMN failover_policy SET DEFAULT 'never';

    ALTER TABLE servers
      ADD COLUMN restart_after timestamptz,
      ADD COLUMN restart_when_hung boolean NOT NULL DEFAULT false,
      ADD COLUMN last_crash jsonb;
    CREATE INDEX servers_restart_after_idx ON servers (restart_after) WHERE restart_after IS NOT NULL;
    COMMENT ON COLUMN servers.restart_after IS 'it crashed, and the reconciler starts it again then; null = nothing is due';
    COMMENT ON COLUMN servers.last_crash IS 'cause and time of the newest crash, as its agent told them';

    -- Apart from users, whose updated_at is theirs.
    CREATE TABLE notification_heads (
      user_id uuid   PRIMARY KEY REFERENCES users ON DELETE CASCADE,
      seq     bigint NOT NULL
    );
    COMMENT ON COLUMN notification_heads.seq IS 'the newest notifications.seq given out';
    ALTER TABLE notifications ADD COLUMN seq bigint;
    UPDATE notifications n SET seq = o.seq
      FROM (SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY created_at, id) AS seq FROM notifications) o
      WHERE o.id = n.id;
    INSERT INTO notification_heads SELECT user_id, max(seq) FROM notifications GROUP BY user_id;
    ALTER TABLE notifications ALTER COLUMN seq SET NOT NULL, ADD UNIQUE (user_id, seq);
  `,
  down: `
    ALTER TABLE notifications DROP COLUMN seq;
    DROP TABLE notification_heads;
    ALTER TABLE servers DROP COLUMN last_crash, DROP COLUMN restart_when_hung, DROP COLUMN restart_after;
    ALTER TABLE servers ALTER COLUMN failover_policy SET DEFAULT 'auto';
    ALTER TABLE agents DROP COLUMN lease_renewed_at;
    DROP TABLE sample_cursors;
    DROP TABLE agent_metrics;
    ALTER TABLE server_metrics DROP COLUMN disk_used;
  `,
};
