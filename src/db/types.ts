/**
 * The rows as the database gives them: column names, `Date` for timestamptz, null for NULL. bigint columns are
 * numbers (connect.ts refuses values that a number cannot hold). The models are made from these types, and
 * test/integration/schema.test.ts compares them with the live columns.
 */
import type { OperationEventData, OperationEventType } from '#src/contracts/operation.js';
import type { AlertCode, Preferences, Severity } from '#src/domain/alert.js';
import type { ErrorCode } from '#src/domain/errors.js';
import type { WebhookFormat } from '#src/domain/webhook.js';
import type {
  OperationKind,
  OperationProgress,
  OperationState,
  OperationTrigger,
} from '#src/domain/operation.js';
import type { AuditAction } from '#src/domain/audit.js';
import type { MailTemplate } from '#src/domain/mail.js';
import type { Permission, Role } from '#src/domain/permissions.js';
import type { Scope } from '#src/domain/scopes.js';
import type { CrashCode } from '#src/domain/crash.js';
import type { DesiredState, ServerStatus } from '#src/domain/serverState.js';

export const AGENT_STATUSES = ['online', 'offline', 'error'] as const;
export type AgentStatus = (typeof AGENT_STATUSES)[number];

export const TLS_MODES = ['pinned', 'insecure', 'plaintext'] as const;
export type TlsMode = (typeof TLS_MODES)[number];

export const SERVER_TYPES = ['paper', 'spigot', 'purpur', 'vanilla', 'fabric', 'forge'] as const;
export type ServerType = (typeof SERVER_TYPES)[number];

export const FAILOVER_POLICIES = ['auto', 'manual', 'never'] as const;
export type FailoverPolicy = (typeof FAILOVER_POLICIES)[number];

export const SWEEP_VERDICTS = ['running', 'conclusive', 'inconclusive'] as const;
export type SweepVerdict = (typeof SWEEP_VERDICTS)[number];

export const LOG_LEVELS = ['INFO', 'WARN', 'ERROR', 'DEBUG'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const PLUGIN_SOURCES = ['spigot', 'modrinth', 'curseforge', 'github', 'hangar'] as const;
export type PluginSource = (typeof PLUGIN_SOURCES)[number];

export const BACKUP_TYPES = ['full', 'world', 'plugins', 'config'] as const;
export type BackupType = (typeof BACKUP_TYPES)[number];

export const BACKUP_STATUSES = ['pending', 'in_progress', 'completed', 'failed'] as const;
export type BackupStatus = (typeof BACKUP_STATUSES)[number];

export const COMPRESSIONS = ['gzip', 'zip', 'tar'] as const;
export type Compression = (typeof COMPRESSIONS)[number];

export const BACKUP_TRIGGERS = ['manual', 'scheduled', 'safety'] as const;
export type BackupTrigger = (typeof BACKUP_TRIGGERS)[number];

/** Where an archive lies; `agent`: still only on the host that made it. */
export const BACKUP_STORAGES = ['agent', 'local', 's3'] as const;
export type BackupStorage = (typeof BACKUP_STORAGES)[number];

export type JsonObject = Record<string, unknown>;

export interface UserRow {
  id: string;
  username: string;
  email: string;
  password_hash: string;
  role: Role;
  is_active: boolean;
  last_login: Date | null;
  /** Null: the defaults. */
  preferences: Partial<Preferences> | null;
  created_at: Date;
  updated_at: Date;
}

export interface SessionRow {
  id: string;
  user_id: string;
  token_hash: string;
  /** The sessions that followed one another by refresh, from one login. */
  family_id: string;
  ip_address: string | null;
  user_agent: string | null;
  expires_at: Date;
  replaced_at: Date | null;
  replaced_by: string | null;
  revoked_at: Date | null;
  created_at: Date;
}

export interface ApiKeyRow {
  id: string;
  user_id: string;
  name: string;
  /** The first characters of the key, by which people recognise it. */
  prefix: string;
  key_hash: string;
  scopes: Scope[];
  expires_at: Date | null;
  last_used_at: Date | null;
  created_at: Date;
}

export interface PasswordResetRow {
  id: string;
  user_id: string;
  token_hash: string;
  expires_at: Date;
  used_at: Date | null;
  created_at: Date;
}

export interface TotpFactorRow {
  user_id: string;
  /** Sealed. */
  secret: string;
  /** Null: enrolled and not yet verified. */
  confirmed_at: Date | null;
  /** The newest time step that a code was taken of. */
  last_step: number;
  created_at: Date;
}

/** One that was used is gone. */
export interface RecoveryCodeRow {
  id: string;
  user_id: string;
  code_hash: string;
}

export interface InvitationRow {
  id: string;
  token_hash: string;
  created_by: string | null;
  used_by: string | null;
  used_at: Date | null;
  expires_at: Date;
  created_at: Date;
}

/** A mail that was not sent yet. */
/** A mail has template and address, a call of a webhook has neither. */
export interface DeliveryRow {
  id: string;
  template: MailTemplate | null;
  address: string | null;
  webhook_id: string | null;
  /** What it tells of; null for a mail about something else, and for a trial. */
  notification_id: string | null;
  request_id: string | null;
  /** Null: its workflow has been started. */
  dispatch_after: Date | null;
  created_at: Date;
}

export interface AgentRow {
  id: string;
  /** The name people gave it; everything else refers to `id`. */
  agent_id: string;
  hostname: string;
  ip_address: string;
  port: number;
  status: AgentStatus;
  version: string | null;
  os: string | null;
  cpu_cores: number | null;
  memory_total: number | null;
  disk_total: number | null;
  last_seen: Date | null;
  /** Seconds. */
  health_check_interval: number;
  work_dir: string | null;
  tls_mode: TlsMode;
  tls_fingerprint: string | null;
  /** Sealed. */
  token: string | null;
  zone: string | null;
  labels: Record<string, string>;
  capabilities: JsonObject | null;
  maintenance_until: Date | null;
  cordoned: boolean;
  quarantined: boolean;
  failures: number;
  last_sweep_id: string | null;
  boot_id: string | null;
  incarnation: string | null;
  lease_seq: number;
  lease_frozen: boolean;
  /** When the newest lease was granted. */
  lease_renewed_at: Date | null;
  created_at: Date;
  updated_at: Date;
}

export interface SweepRow {
  id: string;
  shard: number;
  verdict: SweepVerdict;
  pinged: number;
  failed: number;
  started_at: Date;
  finished_at: Date | null;
}

export interface ServerRow {
  id: string;
  agent_id: string;
  user_id: string;
  name: string;
  display_name: string | null;
  server_type: ServerType;
  version: string;
  port: number | null;
  max_players: number;
  status: ServerStatus;
  work_dir: string | null;
  java_args: string | null;
  auto_start: boolean;
  auto_restart: boolean;
  /** MiB. */
  memory_min: number;
  /** MiB. */
  memory_max: number;
  desired_state: DesiredState;
  installed: boolean;
  java_version: number | null;
  accept_eula: boolean;
  failover_policy: FailoverPolicy;
  failover_empty_world: boolean;
  jar_url: string | null;
  jar_sha256: string | null;
  connect_address: string | null;
  current_op_id: string | null;
  op_seq: number;
  server_seq: number;
  status_op_seq: number;
  status_step: number;
  owner_epoch: number;
  crash_count: number;
  crash_window_started_at: Date | null;
  restart_after: Date | null;
  restart_when_hung: boolean;
  last_crash: LastCrash | null;
  last_started: Date | null;
  last_stopped: Date | null;
  created_at: Date;
  updated_at: Date;
}

/** The newest crash of a server, as its agent told it. */
export interface LastCrash {
  /** Of the run that ended: tells one crash from the next. Empty when its agent names none. */
  run_id: string;
  code: CrashCode;
  detail: string;
  /** The last lines that tell of it. */
  evidence: string[];
  /** Of the report in the server's folder, relative to it. */
  report_path: string | null;
  exit_code: number | null;
  /** ISO 8601. */
  at: string;
}

export interface ServerMemberRow {
  server_id: string;
  user_id: string;
  permissions: Permission[];
  created_at: Date;
  updated_at: Date;
}

export interface OperationRow {
  id: string;
  kind: OperationKind;
  state: OperationState;
  server_id: string | null;
  agent_id: string | null;
  requested_by: string | null;
  trigger: OperationTrigger;
  params: JsonObject;
  idempotency_key: string | null;
  request_hash: string | null;
  request_id: string | null;
  op_seq: number | null;
  epoch: number | null;
  progress: OperationProgress | null;
  error_code: ErrorCode | null;
  error_detail: string | null;
  superseded_by: string | null;
  event_seq: number;
  dispatch_after: Date | null;
  cancel_requested_at: Date | null;
  workflow_id: string | null;
  run_id: string | null;
  created_at: Date;
  started_at: Date | null;
  finished_at: Date | null;
}

export interface OperationEventRow {
  op_id: string;
  seq: number;
  server_id: string | null;
  server_seq: number | null;
  event_key: string;
  type: OperationEventType;
  data: OperationEventData;
  at: Date;
}

export interface ServerMetricRow {
  id: number;
  server_id: string;
  timestamp: Date;
  /** 100 = one core. */
  cpu_percent: number | null;
  /** Bytes. */
  memory_used: number | null;
  players_online: number | null;
  tps: number | null;
  uptime_seconds: number | null;
  /** Bytes. */
  disk_used: number | null;
}

export interface AgentMetricRow {
  id: number;
  agent_id: string;
  timestamp: Date;
  /** Of all cores together, 0–100. */
  cpu_percent: number | null;
  /** Bytes, as all that follow. */
  memory_total: number | null;
  memory_used: number | null;
  disk_total: number | null;
  disk_used: number | null;
  network_sent: number | null;
  network_received: number | null;
}

/** How far the samples of an agent have been stored. */
export interface SampleCursorRow {
  agent_id: string;
  incarnation: string;
  seq: number;
  last_at: Date;
}

export interface LogRow {
  id: number;
  server_id: string;
  timestamp: Date;
  level: LogLevel;
  source: string | null;
  message: string;
  exception: string | null;
  stack_trace: string | null;
  run_id: string | null;
  byte_offset: number | null;
}

export interface LogCursorRow {
  server_id: string;
  run_id: string;
  byte_offset: number;
  /** Time of the newest line; null while there is none. */
  last_at: Date | null;
  updated_at: Date;
}

export interface PluginRow {
  id: string;
  name: string;
  slug: string;
  description: string | null;
  author: string | null;
  version: string | null;
  download_url: string | null;
  icon_url: string | null;
  source: PluginSource | null;
  source_id: string | null;
  category: string | null;
  downloads: number;
  /** numeric(3,2) arrives as its digits. */
  rating: string | null;
  minecraft_versions: string[] | null;
  is_active: boolean;
  created_at: Date;
  updated_at: Date;
}

export interface ServerPluginRow {
  id: string;
  server_id: string;
  plugin_id: string;
  version: string | null;
  is_enabled: boolean;
  file_name: string | null;
  sha512: string | null;
  pinned: boolean;
  installed_at: Date;
  updated_at: Date;
}

export interface BackupRow {
  id: string;
  server_id: string;
  filename: string;
  path: string;
  size_bytes: number | null;
  backup_type: BackupType;
  status: BackupStatus;
  compression: Compression;
  trigger: BackupTrigger;
  storage: BackupStorage;
  sha256: string | null;
  epoch: number | null;
  error_code: ErrorCode | null;
  created_by: string | null;
  created_at: Date;
  completed_at: Date | null;
  verified_at: Date | null;
  deleted_at: Date | null;
}

export interface BackupConfigRow {
  server_id: string;
  enabled: boolean;
  /** Five-field cron, read in `timezone`. */
  schedule: string;
  timezone: string;
  max_backups: number;
  retention_days: number;
  include_world: boolean;
  include_plugins: boolean;
  include_config: boolean;
  include_logs: boolean;
  exclude_paths: string[];
  keep_daily: number;
  keep_weekly: number;
  keep_monthly: number;
  created_at: Date;
  updated_at: Date;
}

export interface NotificationRow {
  id: string;
  user_id: string;
  /** Counts up within the user's notifications. */
  seq: number;
  dedupe_key: string | null;
  type: string;
  severity: Severity;
  title: string;
  body: string;
  data: JsonObject;
  server_id: string | null;
  read_at: Date | null;
  created_at: Date;
}

export interface NotificationHeadRow {
  user_id: string;
  /** The newest `seq` given out. */
  seq: number;
}

export interface WebhookRow {
  id: string;
  user_id: string;
  url: string;
  /** Sealed. */
  secret: string;
  /** Empty: all. */
  events: AlertCode[];
  format: WebhookFormat;
  is_active: boolean;
  /** Deliveries given up since the last that succeeded. */
  failures: number;
  /** HTTP status of the newest attempt; null when nobody answered it. */
  last_status: number | null;
  /** Why it failed; null when it succeeded. */
  last_error: ErrorCode | null;
  last_delivery_at: Date | null;
  created_at: Date;
  updated_at: Date;
}

export interface AuditLogRow {
  id: string;
  actor_id: string | null;
  actor_name: string | null;
  action: AuditAction;
  target_type: string | null;
  target_id: string | null;
  request_id: string | null;
  ip_address: string | null;
  data: JsonObject;
  at: Date;
}

export interface UpstreamVersionsRow {
  server_type: ServerType;
  /** Newest first. */
  versions: { version: string; stable: boolean; java_major?: number }[];
  fetched_at: Date;
}
