import { DataTypes, type Sequelize } from 'sequelize';
import type { AuditLogRow, NotificationHeadRow, NotificationRow, WebhookRow } from '../types.js';
import { defineModel, generatedId, optional, primaryKey, required, timeOfBirth } from './columns.js';

export function defineNotices(sequelize: Sequelize) {
  return {
    Notification: defineModel<NotificationRow, 'user_id' | 'seq' | 'type' | 'title'>(
      sequelize,
      'Notification',
      'notifications',
      {
        id: generatedId(),
        user_id: required(DataTypes.UUID),
        seq: required(DataTypes.BIGINT),
        dedupe_key: optional(DataTypes.TEXT),
        type: required(DataTypes.TEXT),
        severity: required(DataTypes.TEXT, 'info'),
        title: required(DataTypes.TEXT),
        body: required(DataTypes.TEXT, ''),
        data: required(DataTypes.JSONB, {}),
        server_id: optional(DataTypes.UUID),
        read_at: optional(DataTypes.DATE),
        created_at: timeOfBirth(),
      },
    ),

    NotificationHead: defineModel<NotificationHeadRow, 'user_id' | 'seq'>(
      sequelize,
      'NotificationHead',
      'notification_heads',
      { user_id: primaryKey(DataTypes.UUID), seq: required(DataTypes.BIGINT) },
    ),

    Webhook: defineModel<WebhookRow, 'user_id' | 'url' | 'secret'>(sequelize, 'Webhook', 'webhooks', {
      id: generatedId(),
      user_id: required(DataTypes.UUID),
      url: required(DataTypes.TEXT),
      secret: required(DataTypes.TEXT),
      events: required(DataTypes.ARRAY(DataTypes.TEXT), []),
      format: required(DataTypes.TEXT, 'generic'),
      is_active: required(DataTypes.BOOLEAN, true),
      failures: required(DataTypes.INTEGER, 0),
      last_status: optional(DataTypes.INTEGER),
      last_error: optional(DataTypes.TEXT),
      last_delivery_at: optional(DataTypes.DATE),
      created_at: timeOfBirth(),
      updated_at: timeOfBirth(),
    }),

    AuditEntry: defineModel<AuditLogRow, 'action'>(sequelize, 'AuditEntry', 'audit_log', {
      id: generatedId(),
      actor_id: optional(DataTypes.UUID),
      actor_name: optional(DataTypes.TEXT),
      action: required(DataTypes.TEXT),
      target_type: optional(DataTypes.TEXT),
      target_id: optional(DataTypes.UUID),
      request_id: optional(DataTypes.TEXT),
      ip_address: optional(DataTypes.TEXT),
      data: required(DataTypes.JSONB, {}),
      at: timeOfBirth(),
    }),
  };
}
