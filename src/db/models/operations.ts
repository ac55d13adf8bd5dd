import { DataTypes, type Sequelize } from 'sequelize';
import type { OperationEventRow, OperationRow } from '../types.js';
import { defineModel, optional, primaryKey, required, timeOfBirth } from './columns.js';

export function defineOperations(sequelize: Sequelize) {
  return {
    Operation: defineModel<OperationRow, 'id' | 'kind'>(sequelize, 'Operation', 'operations', {
      id: primaryKey(DataTypes.UUID),
      kind: required(DataTypes.TEXT),
      state: required(DataTypes.TEXT, 'accepted'),
      server_id: optional(DataTypes.UUID),
      agent_id: optional(DataTypes.UUID),
      requested_by: optional(DataTypes.UUID),
      trigger: required(DataTypes.TEXT, 'user'),
      params: required(DataTypes.JSONB, {}),
      idempotency_key: optional(DataTypes.STRING(255)),
      request_hash: optional(DataTypes.CHAR(64)),
      request_id: optional(DataTypes.TEXT),
      op_seq: optional(DataTypes.BIGINT),
      epoch: optional(DataTypes.BIGINT),
      progress: optional(DataTypes.JSONB),
      error_code: optional(DataTypes.TEXT),
      error_detail: optional(DataTypes.TEXT),
      superseded_by: optional(DataTypes.UUID),
      event_seq: required(DataTypes.INTEGER, 0),
      dispatch_after: optional(DataTypes.DATE),
      cancel_requested_at: optional(DataTypes.DATE),
      workflow_id: optional(DataTypes.TEXT),
      run_id: optional(DataTypes.TEXT),
      created_at: timeOfBirth(),
      started_at: optional(DataTypes.DATE),
      finished_at: optional(DataTypes.DATE),
    }),

    OperationEvent: defineModel<OperationEventRow, 'op_id' | 'seq' | 'event_key' | 'type'>(
      sequelize,
      'OperationEvent',
      'operation_events',
      {
        op_id: primaryKey(DataTypes.UUID),
        seq: primaryKey(DataTypes.INTEGER),
        server_id: optional(DataTypes.UUID),
        server_seq: optional(DataTypes.BIGINT),
        event_key: required(DataTypes.TEXT),
        type: required(DataTypes.TEXT),
        data: required(DataTypes.JSONB, {}),
        at: timeOfBirth(),
      },
    ),
  };
}
