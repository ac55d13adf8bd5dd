import { DataTypes, type Sequelize } from 'sequelize';
import type { ServerMemberRow, ServerRow } from '../types.js';
import { defineModel, generatedId, optional, primaryKey, required, timeOfBirth } from './columns.js';

export function defineServers(sequelize: Sequelize) {
  return {
    Server: defineModel<ServerRow, 'agent_id' | 'user_id' | 'name' | 'server_type' | 'version'>(
      sequelize,
      'Server',
      'servers',
      {
        id: generatedId(),
        agent_id: required(DataTypes.UUID),
        user_id: required(DataTypes.UUID),
        name: required(DataTypes.STRING(100)),
        display_name: optional(DataTypes.STRING(100)),
        server_type: required(DataTypes.TEXT),
        version: required(DataTypes.STRING(20)),
        port: optional(DataTypes.INTEGER),
        max_players: required(DataTypes.INTEGER, 20),
        status: required(DataTypes.TEXT, 'stopped'),
        work_dir: optional(DataTypes.TEXT),
        java_args: optional(DataTypes.TEXT),
        auto_start: required(DataTypes.BOOLEAN, false),
        auto_restart: required(DataTypes.BOOLEAN, true),
        memory_min: required(DataTypes.INTEGER, 1024),
        memory_max: required(DataTypes.INTEGER, 2048),
        desired_state: required(DataTypes.TEXT, 'stopped'),
        installed: required(DataTypes.BOOLEAN, false),
        java_version: optional(DataTypes.INTEGER),
        accept_eula: required(DataTypes.BOOLEAN, false),
        failover_policy: required(DataTypes.TEXT, 'never'),
        failover_empty_world: required(DataTypes.BOOLEAN, false),
        jar_url: optional(DataTypes.TEXT),
        jar_sha256: optional(DataTypes.CHAR(64)),
        connect_address: optional(DataTypes.TEXT),
        current_op_id: optional(DataTypes.UUID),
        op_seq: required(DataTypes.BIGINT, 0),
        server_seq: required(DataTypes.BIGINT, 0),
        status_op_seq: required(DataTypes.BIGINT, 0),
        status_step: required(DataTypes.INTEGER, 0),
        owner_epoch: required(DataTypes.BIGINT, 1),
        crash_count: required(DataTypes.INTEGER, 0),
        crash_window_started_at: optional(DataTypes.DATE),
        restart_after: optional(DataTypes.DATE),
        restart_when_hung: required(DataTypes.BOOLEAN, false),
        last_crash: optional(DataTypes.JSONB),
        last_started: optional(DataTypes.DATE),
        last_stopped: optional(DataTypes.DATE),
        created_at: timeOfBirth(),
        updated_at: timeOfBirth(),
      },
    ),

    ServerMember: defineModel<ServerMemberRow, 'server_id' | 'user_id'>(
      sequelize,
      'ServerMember',
      'server_members',
      {
        server_id: primaryKey(DataTypes.UUID),
        user_id: primaryKey(DataTypes.UUID),
        permissions: required(DataTypes.ARRAY(DataTypes.TEXT), []),
        created_at: timeOfBirth(),
        updated_at: timeOfBirth(),
      },
    ),
  };
}
