import type { Migration } from './migration.js';

/**
 * The ledger. A row of `operations` is the promise behind a 202 and the outbox of its workflow; its events are what
 * people watch. No foreign keys: the ledger outlives the servers, agents and users it speaks of.
 */
export const operations: Migration = {
  name: '0004-operations',
  up: `
    CREATE TABLE operations (
      id                  uuid PRIMARY KEY,
      kind                text        NOT NULL CHECK (kind IN (
        'server.provision', 'server.start', 'server.stop', 'server.restart', 'server.kill', 'server.delete',
        'server.move', 'server.failover', 'server.upgrade',
        'backup.create', 'backup.restore', 'backup.delete', 'backup.verify',
        'plugin.install', 'plugin.update', 'plugin.remove', 'plugin.enable', 'plugin.disable',
        'agent.drain', 'agent.install_java')),
      state               text        NOT NULL DEFAULT 'accepted' CHECK (state IN (
        'accepted', 'running', 'succeeded', 'failed', 'cancelled', 'compensated', 'needs_operator')),
      server_id           uuid,
      agent_id            uuid,
      requested_by        uuid,
      trigger             text        NOT NULL DEFAULT 'user'
                          CHECK (trigger IN ('user', 'schedule', 'failover', 'reconcile')),
      params              jsonb       NOT NULL DEFAULT '{}',
      idempotency_key     varchar(255),
      request_hash        char(64),
      request_id          text,
      op_seq              bigint,
      epoch               bigint,
      progress            jsonb,
      error_code          text,
      error_detail        text,
      superseded_by       uuid,
      event_seq           integer     NOT NULL DEFAULT 0,
      dispatch_after      timestamptz,
      cancel_requested_at timestamptz,
      workflow_id         text,
      run_id              text,
      created_at          timestamptz NOT NULL DEFAULT now(),
      started_at          timestamptz,
      finished_at         timestamptz
    );
    COMMENT ON COLUMN operations.op_seq IS 'order of acceptance within the server';
    COMMENT ON COLUMN operations.event_seq IS 'the newest operation_events.seq given out';
    COMMENT ON COLUMN operations.dispatch_after IS 'when the dispatcher sends it (again); null = nothing to send';

    -- A key is unique per requester; what the system asks for itself has no requester and shares one name space.
    CREATE UNIQUE INDEX operations_idempotency_key ON operations
      (idempotency_key, coalesce(requested_by, '00000000-0000-0000-0000-000000000000'::uuid))
      WHERE idempotency_key IS NOT NULL;
    CREATE INDEX operations_dispatch_after_idx ON operations (dispatch_after) WHERE dispatch_after IS NOT NULL;
    CREATE INDEX operations_server_id_op_seq_idx ON operations (server_id, op_seq);
    CREATE INDEX operations_created_at_idx ON operations (created_at DESC);
    -- Small however long the history grows: the queue of a server, and what the reconciler looks through.
    CREATE INDEX operations_open_idx ON operations (server_id, op_seq)
      WHERE state IN ('accepted', 'running', 'needs_operator');

    CREATE TABLE operation_events (
      op_id      uuid        NOT NULL,
      seq        integer     NOT NULL,
      server_id  uuid,
      server_seq bigint,
      event_key  text        NOT NULL,
      type       text        NOT NULL,
      data       jsonb       NOT NULL DEFAULT '{}',
      at         timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (op_id, seq),
      UNIQUE (op_id, event_key),
      UNIQUE (server_id, server_seq)
    );
    COMMENT ON COLUMN operation_events.event_key IS 'made by the writer, so that its retry adds nothing';
  `,
  down: `
    DROP TABLE operation_events;
    DROP TABLE operations;
  `,
};
