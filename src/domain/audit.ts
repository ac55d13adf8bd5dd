/** What is recorded about who did what; `<subject>.<what happened>`. */
export const AUDIT_ACTIONS = [
  'access.denied',
  'account.registered',
  'account.updated',
  'agent.created',
  'api-key.created',
  'api-key.expired-use',
  'api-key.revoked',
  'invitation.created',
  'login.failed',
  'login.limited',
  'login.succeeded',
  'logout',
  'member.removed',
  'member.updated',
  'password.changed',
  'password.reset',
  'password.reset-mailed',
  'session.revoked',
  'token.reused',
  'totp.disabled',
  'totp.enabled',
  'totp.recovery-code-used',
  'user.deleted',
  'user.updated',
  'webhook.created',
  'webhook.deleted',
  'webhook.updated',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

export const AUDIT_TARGETS = [
  'agent',
  'api-key',
  'invitation',
  'server',
  'session',
  'user',
  'webhook',
] as const;
export type AuditTarget = (typeof AUDIT_TARGETS)[number];
