import type { Migration } from './migration.js';

/** The hosts, how to reach them, what pings found (written by health alone) and the lease that fences them. */
export const agents: Migration = {
  name: '0002-agents',
  up: `
    CREATE TABLE agents (
      id                    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      agent_id              varchar(100) NOT NULL UNIQUE,
      hostname              varchar(255) NOT NULL,
      ip_address            inet         NOT NULL,
      port                  integer      NOT NULL DEFAULT 50051 CHECK (port BETWEEN 1 AND 65535),
      status                text         NOT NULL DEFAULT 'offline' CHECK (status IN ('online', 'offline', 'error')),
      version               varchar(20),
      os                    varchar(50),
      cpu_cores             integer,
      memory_total          bigint,
      disk_total            bigint,
      last_seen             timestamptz,
      health_check_interval integer      NOT NULL DEFAULT 30 CHECK (health_check_interval > 0),
      work_dir              text,
      tls_mode              text         NOT NULL DEFAULT 'plaintext'
                            CHECK (tls_mode IN ('pinned', 'insecure', 'plaintext')),
      tls_fingerprint       text,
      token                 text,
      zone                  text,
      labels                jsonb        NOT NULL DEFAULT '{}',
      capabilities          jsonb,
      maintenance_until     timestamptz,
      cordoned              boolean      NOT NULL DEFAULT false,
      quarantined           boolean      NOT NULL DEFAULT false,
      failures              integer      NOT NULL DEFAULT 0,
      last_sweep_id         uuid,
      boot_id               text,
      incarnation           text,
      lease_seq             bigint       NOT NULL DEFAULT 0,
      lease_frozen          boolean      NOT NULL DEFAULT false,
      created_at            timestamptz  NOT NULL DEFAULT now(),
      updated_at            timestamptz  NOT NULL DEFAULT now()
    );
    CREATE INDEX agents_status_idx ON agents (status);
    CREATE INDEX agents_last_seen_idx ON agents (last_seen);
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
    COMMENT ON COLUMN agents.token IS 'sealed with the control plane''s key; never readable here';
    COMMENT ON COLUMN agents.lease_seq IS 'grows with each granted lease; a take-over freezes it by compare-and-set';

    -- A page of agents pinged together. agents.last_sweep_id names the newest one that counted for an agent, so that a
    -- retried activity never counts a miss twice. No foreign key: old sweeps are pruned.
    CREATE TABLE sweeps (
      id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      shard       integer     NOT NULL DEFAULT 0,
      verdict     text        NOT NULL DEFAULT 'running' CHECK (verdict IN ('running', 'conclusive', 'inconclusive')),
      pinged      integer     NOT NULL DEFAULT 0,
      failed      integer     NOT NULL DEFAULT 0,
      started_at  timestamptz NOT NULL DEFAULT now(),
      finished_at timestamptz
    );
    CREATE INDEX sweeps_started_at_idx ON sweeps (started_at DESC);
  `,
  down: `
    DROP TABLE sweeps;
    DROP TABLE agents;
  `,
};
