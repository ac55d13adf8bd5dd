import { DataTypes, type Sequelize } from 'sequelize';
import type { UpstreamVersionsRow } from '../types.js';
import { defineModel, primaryKey, required, timeOfBirth } from './columns.js';

export function defineUpstreams(sequelize: Sequelize) {
  return {
    UpstreamVersions: defineModel<UpstreamVersionsRow, 'server_type' | 'versions'>(
      sequelize,
      'UpstreamVersions',
      'upstream_versions',
      {
        server_type: primaryKey(DataTypes.TEXT),
        versions: required(DataTypes.JSONB),
        fetched_at: timeOfBirth(),
      },
    ),
  };
}
