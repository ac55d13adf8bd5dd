import { DataTypes, literal, type Sequelize } from 'sequelize';
import type { InvitationRow, DeliveryRow, RecoveryCodeRow, TotpFactorRow } from '../types.js';
import { defineModel, generatedId, optional, primaryKey, required, timeOfBirth } from './columns.js';

export function defineAccounts(sequelize: Sequelize) {
  return {
    TotpFactor: defineModel<TotpFactorRow, 'user_id' | 'secret'>(sequelize, 'TotpFactor', 'totp_factors', {
      user_id: primaryKey(DataTypes.UUID),
      secret: required(DataTypes.TEXT),
      confirmed_at: optional(DataTypes.DATE),
      last_step: required(DataTypes.BIGINT, 0),
      created_at: timeOfBirth(),
    }),

    RecoveryCode: defineModel<RecoveryCodeRow, 'user_id' | 'code_hash'>(
      sequelize,
      'RecoveryCode',
      'recovery_codes',
      { id: generatedId(), user_id: required(DataTypes.UUID), code_hash: required(DataTypes.TEXT) },
    ),

    Invitation: defineModel<InvitationRow, 'token_hash' | 'expires_at'>(
      sequelize,
      'Invitation',
      'invitations',
      {
        id: generatedId(),
        token_hash: required(DataTypes.TEXT),
        created_by: optional(DataTypes.UUID),
        used_by: optional(DataTypes.UUID),
        used_at: optional(DataTypes.DATE),
        expires_at: required(DataTypes.DATE),
        created_at: timeOfBirth(),
      },
    ),

    Delivery: defineModel<DeliveryRow, never>(sequelize, 'Delivery', 'deliveries', {
      id: generatedId(),
      template: optional(DataTypes.TEXT),
      address: optional(DataTypes.TEXT),
      webhook_id: optional(DataTypes.UUID),
      notification_id: optional(DataTypes.UUID),
      request_id: optional(DataTypes.TEXT),
      dispatch_after: { ...optional(DataTypes.DATE), defaultValue: literal('now()') },
      created_at: timeOfBirth(),
    }),
  };
}
