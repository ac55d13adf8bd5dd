import { DataTypes, type Sequelize } from 'sequelize';
import type { BackupConfigRow, BackupRow } from '../types.js';
import { defineModel, generatedId, optional, primaryKey, required, timeOfBirth } from './columns.js';

export function defineBackups(sequelize: Sequelize) {
  return {
    Backup: defineModel<BackupRow, 'server_id' | 'filename' | 'path'>(sequelize, 'Backup', 'backups', {
      id: generatedId(),
      server_id: required(DataTypes.UUID),
      filename: required(DataTypes.TEXT),
      path: required(DataTypes.TEXT),
      size_bytes: optional(DataTypes.BIGINT),
      backup_type: required(DataTypes.TEXT, 'full'),
      status: required(DataTypes.TEXT, 'pending'),
      compression: required(DataTypes.TEXT, 'gzip'),
      trigger: required(DataTypes.TEXT, 'manual'),
      storage: required(DataTypes.TEXT, 'local'),
      sha256: optional(DataTypes.CHAR(64)),
      epoch: optional(DataTypes.BIGINT),
      error_code: optional(DataTypes.TEXT),
      created_by: optional(DataTypes.UUID),
      created_at: timeOfBirth(),
      completed_at: optional(DataTypes.DATE),
      verified_at: optional(DataTypes.DATE),
      deleted_at: optional(DataTypes.DATE),
    }),

    BackupConfig: defineModel<BackupConfigRow, 'server_id'>(sequelize, 'BackupConfig', 'backup_configs', {
      server_id: primaryKey(DataTypes.UUID),
      enabled: required(DataTypes.BOOLEAN, false),
      schedule: required(DataTypes.TEXT, '0 4 * * *'),
      timezone: required(DataTypes.TEXT, 'UTC'),
      max_backups: required(DataTypes.INTEGER, 10),
      retention_days: required(DataTypes.INTEGER, 30),
      include_world: required(DataTypes.BOOLEAN, true),
      include_plugins: required(DataTypes.BOOLEAN, true),
      include_config: required(DataTypes.BOOLEAN, true),
      include_logs: required(DataTypes.BOOLEAN, false),
      exclude_paths: required(DataTypes.ARRAY(DataTypes.TEXT), []),
      keep_daily: required(DataTypes.INTEGER, 0),
      keep_weekly: required(DataTypes.INTEGER, 0),
      keep_monthly: required(DataTypes.INTEGER, 0),
      created_at: timeOfBirth(),
      updated_at: timeOfBirth(),
    }),
  };
}
