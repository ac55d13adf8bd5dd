import type { Migration } from './migration.js';

/**
 * The server row is the mutex of its operations (`current_op_id`), the fence against late writers
 * (`status_op_seq`, `status_step`) and the record of who owns it (`agent_id`, `owner_epoch`).
 */
export const servers: Migration = {
  name: '0003-servers',
  up: `
    CREATE TABLE servers (
      id                      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      agent_id                uuid         NOT NULL REFERENCES agents ON DELETE CASCADE,
      user_id                 uuid         NOT NULL REFERENCES users ON DELETE CASCADE,
      name                    varchar(100) NOT NULL,
      display_name            varchar(100),
      server_type             text         NOT NULL
                              CHECK (server_type IN ('paper', 'spigot', 'purpur', 'vanilla', 'fabric', 'forge')),
      version                 varchar(20)  NOT NULL,
      port                    integer      CHECK (port BETWEEN 1 AND 65535),
      max_players             integer      NOT NULL DEFAULT 20 CHECK (max_players > 0),
      status                  text         NOT NULL DEFAULT 'stopped'
                              CHECK (status IN ('running', 'stopped', 'starting', 'stopping', 'error')),
      work_dir                text,
      java_args               text,
      auto_start              boolean      NOT NULL DEFAULT false,
      auto_restart            boolean      NOT NULL DEFAULT true,
      memory_min              integer      NOT NULL DEFAULT 1024 CHECK (memory_min > 0),
      memory_max              integer      NOT NULL DEFAULT 2048,
      desired_state           text         NOT NULL DEFAULT 'stopped' CHECK (desired_state IN ('running', 'stopped')),
      installed               boolean      NOT NULL DEFAULT false,
      java_version            integer,
      accept_eula             boolean      NOT NULL DEFAULT false,
      failover_policy         text         NOT NULL DEFAULT 'auto'
                              CHECK (failover_policy IN ('auto', 'manual', 'never')),
      failover_empty_world    boolean      NOT NULL DEFAULT false,
      jar_url                 text,
      jar_sha256              char(64),
      connect_address         text,
      current_op_id           uuid,
      op_seq                  bigint       NOT NULL DEFAULT 0,
      server_seq              bigint       NOT NULL DEFAULT 0,
      status_op_seq           bigint       NOT NULL DEFAULT 0,
      status_step             integer      NOT NULL DEFAULT 0,
      owner_epoch             bigint       NOT NULL DEFAULT 1,
      crash_count             integer      NOT NULL DEFAULT 0,
      crash_window_started_at timestamptz,
      last_started            timestamptz,
      last_stopped            timestamptz,
      created_at              timestamptz  NOT NULL DEFAULT now(),
      updated_at              timestamptz  NOT NULL DEFAULT now(),
      CONSTRAINT servers_memory_check CHECK (memory_min <= memory_max)
    );
    CREATE INDEX servers_agent_id_idx ON servers (agent_id);
    CREATE INDEX servers_user_id_idx ON servers (user_id);
    CREATE INDEX servers_status_idx ON servers (status);
    CREATE INDEX servers_name_idx ON servers (name);
    CREATE UNIQUE INDEX servers_agent_id_port_key ON servers (agent_id, port) WHERE port IS NOT NULL;
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON servers FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
    COMMENT ON COLUMN servers.memory_min IS 'MiB';
    COMMENT ON COLUMN servers.memory_max IS 'MiB';
    COMMENT ON COLUMN servers.current_op_id IS 'the operation that may act on the server; null = free';
    COMMENT ON COLUMN servers.op_seq IS 'the newest operations.op_seq given out';
    COMMENT ON COLUMN servers.server_seq IS 'the newest operation_events.server_seq given out';
    COMMENT ON COLUMN servers.status_op_seq IS 'with status_step: who wrote the status last; older writers are refused';
    COMMENT ON COLUMN servers.owner_epoch IS 'grows with each change of agent_id';

    CREATE TABLE server_members (
      server_id   uuid        NOT NULL REFERENCES servers ON DELETE CASCADE,
      user_id     uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
      permissions text[]      NOT NULL DEFAULT ARRAY[]::text[] CHECK (permissions <@ ARRAY['console.read',
        'console.write', 'power', 'files.read', 'files.write', 'backups', 'plugins', 'settings', 'members']),
      created_at  timestamptz NOT NULL DEFAULT now(),
      updated_at  timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (server_id, user_id)
    );
    CREATE INDEX server_members_user_id_idx ON server_members (user_id);
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON server_members FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
  `,
  down: `
    DROP TABLE server_members;
    DROP TABLE servers;
  `,
};
