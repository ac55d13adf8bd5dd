import { DataTypes, type Sequelize } from 'sequelize';
import type { PluginRow, ServerPluginRow } from '../types.js';
import { defineModel, generatedId, optional, required, timeOfBirth } from './columns.js';

export function definePlugins(sequelize: Sequelize) {
  return {
    Plugin: defineModel<PluginRow, 'name' | 'slug'>(sequelize, 'Plugin', 'plugins', {
      id: generatedId(),
      name: required(DataTypes.STRING(100)),
      slug: required(DataTypes.STRING(100)),
      description: optional(DataTypes.TEXT),
      author: optional(DataTypes.TEXT),
      version: optional(DataTypes.TEXT),
      download_url: optional(DataTypes.TEXT),
      icon_url: optional(DataTypes.TEXT),
      source: optional(DataTypes.TEXT),
      source_id: optional(DataTypes.TEXT),
      category: optional(DataTypes.STRING(50)),
      downloads: required(DataTypes.BIGINT, 0),
      rating: optional(DataTypes.DECIMAL(3, 2)),
      minecraft_versions: optional(DataTypes.JSONB),
      is_active: required(DataTypes.BOOLEAN, true),
      created_at: timeOfBirth(),
      updated_at: timeOfBirth(),
    }),

    ServerPlugin: defineModel<ServerPluginRow, 'server_id' | 'plugin_id'>(
      sequelize,
      'ServerPlugin',
      'server_plugins',
      {
        id: generatedId(),
        server_id: required(DataTypes.UUID),
        plugin_id: required(DataTypes.UUID),
        version: optional(DataTypes.TEXT),
        is_enabled: required(DataTypes.BOOLEAN, true),
        file_name: optional(DataTypes.TEXT),
        sha512: optional(DataTypes.CHAR(128)),
        pinned: required(DataTypes.BOOLEAN, false),
        installed_at: timeOfBirth(),
        updated_at: timeOfBirth(),
      },
    ),
  };
}
