import { DataTypes, literal, type Sequelize } from 'sequelize';
import type { AgentMetricRow, LogCursorRow, LogRow, SampleCursorRow, ServerMetricRow } from '../types.js';
import { defineModel, optional, primaryKey, required, timeOfBirth } from './columns.js';

/** The partition key is part of the primary key of a partitioned table. */
const serial = () => ({ ...primaryKey(DataTypes.BIGINT), autoIncrement: true });
const partitionKey = () => primaryKey(DataTypes.DATE, literal('now()'));

export function defineTelemetry(sequelize: Sequelize) {
  return {
    ServerMetric: defineModel<ServerMetricRow, 'server_id'>(sequelize, 'ServerMetric', 'server_metrics', {
      id: serial(),
      server_id: required(DataTypes.UUID),
      timestamp: partitionKey(),
      cpu_percent: optional(DataTypes.DOUBLE),
      memory_used: optional(DataTypes.BIGINT),
      players_online: optional(DataTypes.INTEGER),
      tps: optional(DataTypes.DOUBLE),
      uptime_seconds: optional(DataTypes.BIGINT),
      disk_used: optional(DataTypes.BIGINT),
    }),

    AgentMetric: defineModel<AgentMetricRow, 'agent_id'>(sequelize, 'AgentMetric', 'agent_metrics', {
      id: serial(),
      agent_id: required(DataTypes.UUID),
      timestamp: partitionKey(),
      cpu_percent: optional(DataTypes.DOUBLE),
      memory_total: optional(DataTypes.BIGINT),
      memory_used: optional(DataTypes.BIGINT),
      disk_total: optional(DataTypes.BIGINT),
      disk_used: optional(DataTypes.BIGINT),
      network_sent: optional(DataTypes.BIGINT),
      network_received: optional(DataTypes.BIGINT),
    }),

    SampleCursor: defineModel<SampleCursorRow, 'agent_id' | 'incarnation' | 'seq' | 'last_at'>(
      sequelize,
      'SampleCursor',
      'sample_cursors',
      {
        agent_id: primaryKey(DataTypes.UUID),
        incarnation: required(DataTypes.TEXT),
        seq: required(DataTypes.BIGINT),
        last_at: required(DataTypes.DATE),
      },
    ),

    Log: defineModel<LogRow, 'server_id' | 'message'>(sequelize, 'Log', 'logs', {
      id: serial(),
      server_id: required(DataTypes.UUID),
      timestamp: partitionKey(),
      level: required(DataTypes.TEXT, 'INFO'),
      source: optional(DataTypes.TEXT),
      message: required(DataTypes.TEXT),
      exception: optional(DataTypes.TEXT),
      stack_trace: optional(DataTypes.TEXT),
      run_id: optional(DataTypes.TEXT),
      byte_offset: optional(DataTypes.BIGINT),
    }),

    LogCursor: defineModel<LogCursorRow, 'server_id' | 'run_id'>(sequelize, 'LogCursor', 'log_cursors', {
      server_id: primaryKey(DataTypes.UUID),
      run_id: primaryKey(DataTypes.TEXT),
      byte_offset: required(DataTypes.BIGINT, 0),
      last_at: optional(DataTypes.DATE),
      updated_at: timeOfBirth(),
    }),
  };
}
