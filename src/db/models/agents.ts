import { DataTypes, type Sequelize } from 'sequelize';
import type { AgentRow, SweepRow } from '../types.js';
import { defineModel, generatedId, optional, required, timeOfBirth } from './columns.js';

export function defineAgents(sequelize: Sequelize) {
  return {
    Agent: defineModel<AgentRow, 'agent_id' | 'hostname' | 'ip_address'>(sequelize, 'Agent', 'agents', {
      id: generatedId(),
      agent_id: required(DataTypes.STRING(100)),
      hostname: required(DataTypes.STRING(255)),
      ip_address: required(DataTypes.INET),
      port: required(DataTypes.INTEGER, 50051),
      status: required(DataTypes.TEXT, 'offline'),
      version: optional(DataTypes.STRING(20)),
      os: optional(DataTypes.STRING(50)),
      cpu_cores: optional(DataTypes.INTEGER),
      memory_total: optional(DataTypes.BIGINT),
      disk_total: optional(DataTypes.BIGINT),
      last_seen: optional(DataTypes.DATE),
      health_check_interval: required(DataTypes.INTEGER, 30),
      work_dir: optional(DataTypes.TEXT),
      tls_mode: required(DataTypes.TEXT, 'plaintext'),
      tls_fingerprint: optional(DataTypes.TEXT),
      token: optional(DataTypes.TEXT),
      zone: optional(DataTypes.TEXT),
      labels: required(DataTypes.JSONB, {}),
      capabilities: optional(DataTypes.JSONB),
      maintenance_until: optional(DataTypes.DATE),
      cordoned: required(DataTypes.BOOLEAN, false),
      quarantined: required(DataTypes.BOOLEAN, false),
      failures: required(DataTypes.INTEGER, 0),
      last_sweep_id: optional(DataTypes.UUID),
      boot_id: optional(DataTypes.TEXT),
      incarnation: optional(DataTypes.TEXT),
      lease_seq: required(DataTypes.BIGINT, 0),
      lease_frozen: required(DataTypes.BOOLEAN, false),
      lease_renewed_at: optional(DataTypes.DATE),
      created_at: timeOfBirth(),
      updated_at: timeOfBirth(),
    }),

    Sweep: defineModel<SweepRow, never>(sequelize, 'Sweep', 'sweeps', {
      id: generatedId(),
      shard: required(DataTypes.INTEGER, 0),
      verdict: required(DataTypes.TEXT, 'running'),
      pinged: required(DataTypes.INTEGER, 0),
      failed: required(DataTypes.INTEGER, 0),
      started_at: timeOfBirth(),
      finished_at: optional(DataTypes.DATE),
    }),
  };
}
