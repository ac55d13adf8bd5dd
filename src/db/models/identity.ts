import { DataTypes, type Sequelize } from 'sequelize';
import type { ApiKeyRow, PasswordResetRow, SessionRow, UserRow } from '../types.js';
import { defineModel, generatedId, optional, randomUuid, required, timeOfBirth } from './columns.js';

export function defineIdentity(sequelize: Sequelize) {
  return {
    User: defineModel<UserRow, 'username' | 'email' | 'password_hash'>(sequelize, 'User', 'users', {
      id: generatedId(),
      username: required(DataTypes.STRING(50)),
      email: required(DataTypes.STRING(100)),
      password_hash: required(DataTypes.TEXT),
      role: required(DataTypes.TEXT, 'user'),
      is_active: required(DataTypes.BOOLEAN, true),
      last_login: optional(DataTypes.DATE),
      preferences: optional(DataTypes.JSONB),
      created_at: timeOfBirth(),
      updated_at: timeOfBirth(),
    }),

    Session: defineModel<SessionRow, 'user_id' | 'token_hash' | 'expires_at'>(
      sequelize,
      'Session',
      'sessions',
      {
        id: generatedId(),
        user_id: required(DataTypes.UUID),
        token_hash: required(DataTypes.TEXT),
        family_id: required(DataTypes.UUID, randomUuid()),
        ip_address: optional(DataTypes.TEXT),
        user_agent: optional(DataTypes.TEXT),
        expires_at: required(DataTypes.DATE),
        replaced_at: optional(DataTypes.DATE),
        replaced_by: optional(DataTypes.UUID),
        revoked_at: optional(DataTypes.DATE),
        created_at: timeOfBirth(),
      },
    ),

    ApiKey: defineModel<ApiKeyRow, 'user_id' | 'name' | 'prefix' | 'key_hash'>(
      sequelize,
      'ApiKey',
      'api_keys',
      {
        id: generatedId(),
        user_id: required(DataTypes.UUID),
        name: required(DataTypes.STRING(100)),
        prefix: required(DataTypes.STRING(16)),
        key_hash: required(DataTypes.TEXT),
        scopes: required(DataTypes.ARRAY(DataTypes.TEXT), []),
        expires_at: optional(DataTypes.DATE),
        last_used_at: optional(DataTypes.DATE),
        created_at: timeOfBirth(),
      },
    ),

    PasswordReset: defineModel<PasswordResetRow, 'user_id' | 'token_hash' | 'expires_at'>(
      sequelize,
      'PasswordReset',
      'password_resets',
      {
        id: generatedId(),
        user_id: required(DataTypes.UUID),
        token_hash: required(DataTypes.TEXT),
        expires_at: required(DataTypes.DATE),
        used_at: optional(DataTypes.DATE),
        created_at: timeOfBirth(),
      },
    ),
  };
}
