CREATE OR REPLACE FUNCTION public.touch_updated_at()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$function$;

CREATE TABLE agent_metrics (
  id bigserial NOT NULL,
  agent_id uuid NOT NULL,
  "timestamp" timestamp with time zone DEFAULT now() NOT NULL,
  cpu_percent double precision,
  memory_total bigint,
  memory_used bigint,
  disk_total bigint,
  disk_used bigint,
  network_sent bigint,
  network_received bigint,
  CONSTRAINT agent_metrics_pkey PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");
CREATE TABLE agent_metrics_default PARTITION OF agent_metrics DEFAULT;
CREATE INDEX agent_metrics_agent_id_timestamp_idx ON agent_metrics USING btree (agent_id, "timestamp" DESC);

CREATE TABLE agents (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  agent_id character varying(100) NOT NULL,
  hostname character varying(255) NOT NULL,
  ip_address inet NOT NULL,
  port integer DEFAULT 50051 NOT NULL,
  status text DEFAULT 'offline'::text NOT NULL,
  version character varying(20),
  os character varying(50),
  cpu_cores integer,
  memory_total bigint,
  disk_total bigint,
  last_seen timestamp with time zone,
  health_check_interval integer DEFAULT 30 NOT NULL,
  work_dir text,
  tls_mode text DEFAULT 'plaintext'::text NOT NULL,
  tls_fingerprint text,
  token text,
  zone text,
  labels jsonb DEFAULT '{}'::jsonb NOT NULL,
  capabilities jsonb,
  maintenance_until timestamp with time zone,
  cordoned boolean DEFAULT false NOT NULL,
  quarantined boolean DEFAULT false NOT NULL,
  failures integer DEFAULT 0 NOT NULL,
  last_sweep_id uuid,
  boot_id text,
  incarnation text,
  lease_seq bigint DEFAULT 0 NOT NULL,
  lease_frozen boolean DEFAULT false NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  lease_renewed_at timestamp with time zone,
  CONSTRAINT agents_pkey PRIMARY KEY (id),
  CONSTRAINT agents_agent_id_key UNIQUE (agent_id),
  CONSTRAINT agents_health_check_interval_check CHECK ((health_check_interval > 0)),
  CONSTRAINT agents_port_check CHECK (((port >= 1) AND (port <= 65535))),
  CONSTRAINT agents_status_check CHECK ((status = ANY (ARRAY['online'::text, 'offline'::text, 'error'::text]))),
  CONSTRAINT agents_tls_mode_check CHECK ((tls_mode = ANY (ARRAY['pinned'::text, 'insecure'::text, 'plaintext'::text])))
);
CREATE INDEX agents_last_seen_idx ON agents USING btree (last_seen);
CREATE INDEX agents_status_idx ON agents USING btree (status);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
COMMENT ON COLUMN agents.token IS 'sealed with the control plane''s key; never readable here';
COMMENT ON COLUMN agents.lease_seq IS 'grows with each granted lease; a take-over freezes it by compare-and-set';

CREATE TABLE api_keys (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  user_id uuid NOT NULL,
  name character varying(100) NOT NULL,
  prefix character varying(16) NOT NULL,
  key_hash text NOT NULL,
  scopes text[] DEFAULT ARRAY[]::text[] NOT NULL,
  expires_at timestamp with time zone,
  last_used_at timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT api_keys_pkey PRIMARY KEY (id),
  CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash)
);
CREATE INDEX api_keys_user_id_idx ON api_keys USING btree (user_id);

CREATE TABLE audit_log (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  actor_id uuid,
  actor_name text,
  action text NOT NULL,
  target_type text,
  target_id uuid,
  request_id text,
  ip_address text,
  data jsonb DEFAULT '{}'::jsonb NOT NULL,
  at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT audit_log_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_log_actor_id_idx ON audit_log USING btree (actor_id, at DESC);
CREATE INDEX audit_log_at_idx ON audit_log USING btree (at DESC);
CREATE INDEX audit_log_target_id_idx ON audit_log USING btree (target_id, at DESC);

CREATE TABLE backup_configs (
  server_id uuid NOT NULL,
  enabled boolean DEFAULT false NOT NULL,
  schedule text DEFAULT '0 4 * * *'::text NOT NULL,
  timezone text DEFAULT 'UTC'::text NOT NULL,
  max_backups integer DEFAULT 10 NOT NULL,
  retention_days integer DEFAULT 30 NOT NULL,
  include_world boolean DEFAULT true NOT NULL,
  include_plugins boolean DEFAULT true NOT NULL,
  include_config boolean DEFAULT true NOT NULL,
  include_logs boolean DEFAULT false NOT NULL,
  exclude_paths text[] DEFAULT ARRAY[]::text[] NOT NULL,
  keep_daily integer DEFAULT 0 NOT NULL,
  keep_weekly integer DEFAULT 0 NOT NULL,
  keep_monthly integer DEFAULT 0 NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT backup_configs_pkey PRIMARY KEY (server_id),
  CONSTRAINT backup_configs_keep_daily_check CHECK ((keep_daily >= 0)),
  CONSTRAINT backup_configs_keep_monthly_check CHECK ((keep_monthly >= 0)),
  CONSTRAINT backup_configs_keep_weekly_check CHECK ((keep_weekly >= 0)),
  CONSTRAINT backup_configs_max_backups_check CHECK (((max_backups >= 1) AND (max_backups <= 100))),
  CONSTRAINT backup_configs_retention_days_check CHECK (((retention_days >= 1) AND (retention_days <= 365)))
);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON backup_configs FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE backups (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  server_id uuid NOT NULL,
  filename text NOT NULL,
  path text NOT NULL,
  size_bytes bigint,
  backup_type text DEFAULT 'full'::text NOT NULL,
  status text DEFAULT 'pending'::text NOT NULL,
  compression text DEFAULT 'gzip'::text NOT NULL,
  trigger text DEFAULT 'manual'::text NOT NULL,
  storage text DEFAULT 'local'::text NOT NULL,
  sha256 character(64),
  epoch bigint,
  error_code text,
  created_by uuid,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  completed_at timestamp with time zone,
  verified_at timestamp with time zone,
  deleted_at timestamp with time zone,
  CONSTRAINT backups_pkey PRIMARY KEY (id),
  CONSTRAINT backups_backup_type_check CHECK ((backup_type = ANY (ARRAY['full'::text, 'world'::text, 'plugins'::text, 'config'::text]))),
  CONSTRAINT backups_compression_check CHECK ((compression = ANY (ARRAY['gzip'::text, 'zip'::text, 'tar'::text]))),
  CONSTRAINT backups_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'completed'::text, 'failed'::text]))),
  CONSTRAINT backups_storage_check CHECK ((storage = ANY (ARRAY['agent'::text, 'local'::text, 's3'::text]))),
  CONSTRAINT backups_trigger_check CHECK ((trigger = ANY (ARRAY['manual'::text, 'scheduled'::text, 'safety'::text])))
);
CREATE INDEX backups_created_at_idx ON backups USING btree (created_at DESC);
CREATE INDEX backups_created_by_idx ON backups USING btree (created_by);
CREATE INDEX backups_server_id_idx ON backups USING btree (server_id);

CREATE TABLE deliveries (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  template text,
  address text,
  request_id text,
  dispatch_after timestamp with time zone DEFAULT now(),
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  webhook_id uuid,
  notification_id uuid,
  CONSTRAINT deliveries_pkey PRIMARY KEY (id),
  CONSTRAINT deliveries_check CHECK ((num_nonnulls(template, address) =
CASE
    WHEN (webhook_id IS NULL) THEN 2
    ELSE 0
END))
);
CREATE INDEX deliveries_dispatch_after_idx ON deliveries USING btree (dispatch_after) WHERE (dispatch_after IS NOT NULL);
CREATE INDEX deliveries_notification_id_idx ON deliveries USING btree (notification_id);
CREATE INDEX deliveries_webhook_id_idx ON deliveries USING btree (webhook_id);
COMMENT ON COLUMN deliveries.dispatch_after IS 'null = its workflow has been started';
COMMENT ON COLUMN deliveries.notification_id IS 'null = a mail about something else, or a trial of the webhook';

CREATE TABLE invitations (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  token_hash text NOT NULL,
  created_by uuid,
  used_by uuid,
  used_at timestamp with time zone,
  expires_at timestamp with time zone NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT invitations_pkey PRIMARY KEY (id),
  CONSTRAINT invitations_token_hash_key UNIQUE (token_hash)
);

CREATE TABLE log_cursors (
  server_id uuid NOT NULL,
  run_id text NOT NULL,
  byte_offset bigint DEFAULT 0 NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  last_at timestamp with time zone,
  CONSTRAINT log_cursors_pkey PRIMARY KEY (server_id, run_id)
);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON log_cursors FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE logs (
  id bigserial NOT NULL,
  server_id uuid NOT NULL,
  "timestamp" timestamp with time zone DEFAULT now() NOT NULL,
  level text DEFAULT 'INFO'::text NOT NULL,
  source text,
  message text NOT NULL,
  exception text,
  stack_trace text,
  run_id text,
  byte_offset bigint,
  CONSTRAINT logs_pkey PRIMARY KEY (id, "timestamp"),
  CONSTRAINT logs_level_check CHECK ((level = ANY (ARRAY['INFO'::text, 'WARN'::text, 'ERROR'::text, 'DEBUG'::text])))
) PARTITION BY RANGE ("timestamp");
CREATE TABLE logs_default PARTITION OF logs DEFAULT;
CREATE INDEX logs_server_id_timestamp_idx ON logs USING btree (server_id, "timestamp" DESC);

CREATE TABLE notification_heads (
  user_id uuid NOT NULL,
  seq bigint NOT NULL,
  CONSTRAINT notification_heads_pkey PRIMARY KEY (user_id)
);
COMMENT ON COLUMN notification_heads.seq IS 'the newest notifications.seq given out';

CREATE TABLE notifications (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  user_id uuid NOT NULL,
  dedupe_key text,
  type text NOT NULL,
  severity text DEFAULT 'info'::text NOT NULL,
  title text NOT NULL,
  body text DEFAULT ''::text NOT NULL,
  data jsonb DEFAULT '{}'::jsonb NOT NULL,
  server_id uuid,
  read_at timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  seq bigint NOT NULL,
  CONSTRAINT notifications_pkey PRIMARY KEY (id),
  CONSTRAINT notifications_user_id_dedupe_key_key UNIQUE (user_id, dedupe_key),
  CONSTRAINT notifications_user_id_seq_key UNIQUE (user_id, seq),
  CONSTRAINT notifications_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'critical'::text])))
);
CREATE INDEX notifications_server_id_created_at_idx ON notifications USING btree (server_id, created_at DESC);
CREATE INDEX notifications_user_id_created_at_idx ON notifications USING btree (user_id, created_at DESC);
COMMENT ON COLUMN notifications.dedupe_key IS 'made by the writer, so that its retry tells nobody twice';

CREATE TABLE operation_events (
  op_id uuid NOT NULL,
  seq integer NOT NULL,
  server_id uuid,
  server_seq bigint,
  event_key text NOT NULL,
  type text NOT NULL,
  data jsonb DEFAULT '{}'::jsonb NOT NULL,
  at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT operation_events_pkey PRIMARY KEY (op_id, seq),
  CONSTRAINT operation_events_op_id_event_key_key UNIQUE (op_id, event_key),
  CONSTRAINT operation_events_server_id_server_seq_key UNIQUE (server_id, server_seq)
);
COMMENT ON COLUMN operation_events.event_key IS 'made by the writer, so that its retry adds nothing';

CREATE TABLE operations (
  id uuid NOT NULL,
  kind text NOT NULL,
  state text DEFAULT 'accepted'::text NOT NULL,
  server_id uuid,
  agent_id uuid,
  requested_by uuid,
  trigger text DEFAULT 'user'::text NOT NULL,
  params jsonb DEFAULT '{}'::jsonb NOT NULL,
  idempotency_key character varying(255),
  request_hash character(64),
  request_id text,
  op_seq bigint,
  epoch bigint,
  progress jsonb,
  error_code text,
  error_detail text,
  superseded_by uuid,
  event_seq integer DEFAULT 0 NOT NULL,
  dispatch_after timestamp with time zone,
  cancel_requested_at timestamp with time zone,
  workflow_id text,
  run_id text,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  CONSTRAINT operations_pkey PRIMARY KEY (id),
  CONSTRAINT operations_kind_check CHECK ((kind = ANY (ARRAY['server.provision'::text, 'server.start'::text, 'server.stop'::text, 'server.restart'::text, 'server.kill'::text, 'server.delete'::text, 'server.move'::text, 'server.failover'::text, 'server.upgrade'::text, 'backup.create'::text, 'backup.restore'::text, 'backup.delete'::text, 'backup.verify'::text, 'plugin.install'::text, 'plugin.update'::text, 'plugin.remove'::text, 'plugin.enable'::text, 'plugin.disable'::text, 'agent.drain'::text, 'agent.install_java'::text]))),
  CONSTRAINT operations_state_check CHECK ((state = ANY (ARRAY['accepted'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'compensated'::text, 'needs_operator'::text]))),
  CONSTRAINT operations_trigger_check CHECK ((trigger = ANY (ARRAY['user'::text, 'schedule'::text, 'failover'::text, 'reconcile'::text])))
);
CREATE INDEX operations_created_at_idx ON operations USING btree (created_at DESC);
CREATE INDEX operations_dispatch_after_idx ON operations USING btree (dispatch_after) WHERE (dispatch_after IS NOT NULL);
CREATE UNIQUE INDEX operations_idempotency_key ON operations USING btree (idempotency_key, COALESCE(requested_by, '00000000-0000-0000-0000-000000000000'::uuid)) WHERE (idempotency_key IS NOT NULL);
CREATE INDEX operations_open_idx ON operations USING btree (server_id, op_seq) WHERE (state = ANY (ARRAY['accepted'::text, 'running'::text, 'needs_operator'::text]));
CREATE INDEX operations_server_id_op_seq_idx ON operations USING btree (server_id, op_seq);
COMMENT ON COLUMN operations.op_seq IS 'order of acceptance within the server';
COMMENT ON COLUMN operations.event_seq IS 'the newest operation_events.seq given out';
COMMENT ON COLUMN operations.dispatch_after IS 'when the dispatcher sends it (again); null = nothing to send';

CREATE TABLE password_resets (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  user_id uuid NOT NULL,
  token_hash text NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  used_at timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT password_resets_pkey PRIMARY KEY (id),
  CONSTRAINT password_resets_token_hash_key UNIQUE (token_hash)
);
CREATE INDEX password_resets_user_id_idx ON password_resets USING btree (user_id);

CREATE TABLE plugins (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  name character varying(100) NOT NULL,
  slug character varying(100) NOT NULL,
  description text,
  author text,
  version text,
  download_url text,
  icon_url text,
  source text,
  source_id text,
  category character varying(50),
  downloads bigint DEFAULT 0 NOT NULL,
  rating numeric(3,2),
  minecraft_versions jsonb,
  is_active boolean DEFAULT true NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT plugins_pkey PRIMARY KEY (id),
  CONSTRAINT plugins_slug_key UNIQUE (slug),
  CONSTRAINT plugins_source_source_id_key UNIQUE (source, source_id),
  CONSTRAINT plugins_source_check CHECK ((source = ANY (ARRAY['spigot'::text, 'modrinth'::text, 'curseforge'::text, 'github'::text, 'hangar'::text])))
);
CREATE INDEX plugins_category_idx ON plugins USING btree (category);
CREATE INDEX plugins_name_search_idx ON plugins USING gin (to_tsvector('simple'::regconfig, (name)::text));
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON plugins FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE recovery_codes (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  user_id uuid NOT NULL,
  code_hash text NOT NULL,
  CONSTRAINT recovery_codes_pkey PRIMARY KEY (id),
  CONSTRAINT recovery_codes_code_hash_key UNIQUE (code_hash)
);
CREATE INDEX recovery_codes_user_id_idx ON recovery_codes USING btree (user_id);

CREATE TABLE sample_cursors (
  agent_id uuid NOT NULL,
  incarnation text NOT NULL,
  seq bigint NOT NULL,
  last_at timestamp with time zone NOT NULL,
  CONSTRAINT sample_cursors_pkey PRIMARY KEY (agent_id)
);

CREATE TABLE server_members (
  server_id uuid NOT NULL,
  user_id uuid NOT NULL,
  permissions text[] DEFAULT ARRAY[]::text[] NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT server_members_pkey PRIMARY KEY (server_id, user_id),
  CONSTRAINT server_members_permissions_check CHECK ((permissions <@ ARRAY['console.read'::text, 'console.write'::text, 'power'::text, 'files.read'::text, 'files.write'::text, 'backups'::text, 'plugins'::text, 'settings'::text, 'members'::text]))
);
CREATE INDEX server_members_user_id_idx ON server_members USING btree (user_id);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON server_members FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE server_metrics (
  id bigserial NOT NULL,
  server_id uuid NOT NULL,
  "timestamp" timestamp with time zone DEFAULT now() NOT NULL,
  cpu_percent double precision,
  memory_used bigint,
  players_online integer,
  tps double precision,
  uptime_seconds bigint,
  disk_used bigint,
  CONSTRAINT server_metrics_pkey PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");
CREATE TABLE server_metrics_default PARTITION OF server_metrics DEFAULT;
CREATE INDEX server_metrics_server_id_timestamp_idx ON server_metrics USING btree (server_id, "timestamp" DESC);

CREATE TABLE server_plugins (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  server_id uuid NOT NULL,
  plugin_id uuid NOT NULL,
  version text,
  is_enabled boolean DEFAULT true NOT NULL,
  file_name text,
  sha512 character(128),
  pinned boolean DEFAULT false NOT NULL,
  installed_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT server_plugins_pkey PRIMARY KEY (id),
  CONSTRAINT server_plugins_server_id_plugin_id_key UNIQUE (server_id, plugin_id)
);
CREATE INDEX server_plugins_plugin_id_idx ON server_plugins USING btree (plugin_id);
CREATE INDEX server_plugins_server_id_idx ON server_plugins USING btree (server_id);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON server_plugins FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE servers (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  agent_id uuid NOT NULL,
  user_id uuid NOT NULL,
  name character varying(100) NOT NULL,
  display_name character varying(100),
  server_type text NOT NULL,
  version character varying(20) NOT NULL,
  port integer,
  max_players integer DEFAULT 20 NOT NULL,
  status text DEFAULT 'stopped'::text NOT NULL,
  work_dir text,
  java_args text,
  auto_start boolean DEFAULT false NOT NULL,
  auto_restart boolean DEFAULT true NOT NULL,
  memory_min integer DEFAULT 1024 NOT NULL,
  memory_max integer DEFAULT 2048 NOT NULL,
  desired_state text DEFAULT 'stopped'::text NOT NULL,
  installed boolean DEFAULT false NOT NULL,
  java_version integer,
  accept_eula boolean DEFAULT false NOT NULL,
  failover_policy text DEFAULT 'never'::text NOT NULL,
  failover_empty_world boolean DEFAULT false NOT NULL,
  jar_url text,
  jar_sha256 character(64),
  connect_address text,
  current_op_id uuid,
  op_seq bigint DEFAULT 0 NOT NULL,
  server_seq bigint DEFAULT 0 NOT NULL,
  status_op_seq bigint DEFAULT 0 NOT NULL,
  status_step integer DEFAULT 0 NOT NULL,
  owner_epoch bigint DEFAULT 1 NOT NULL,
  crash_count integer DEFAULT 0 NOT NULL,
  crash_window_started_at timestamp with time zone,
  last_started timestamp with time zone,
  last_stopped timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  restart_after timestamp with time zone,
  restart_when_hung boolean DEFAULT false NOT NULL,
  last_crash jsonb,
  CONSTRAINT servers_pkey PRIMARY KEY (id),
  CONSTRAINT servers_desired_state_check CHECK ((desired_state = ANY (ARRAY['running'::text, 'stopped'::text]))),
  CONSTRAINT servers_failover_policy_check CHECK ((failover_policy = ANY (ARRAY['auto'::text, 'manual'::text, 'never'::text]))),
  CONSTRAINT servers_max_players_check CHECK ((max_players > 0)),
  CONSTRAINT servers_memory_check CHECK ((memory_min <= memory_max)),
  CONSTRAINT servers_memory_min_check CHECK ((memory_min > 0)),
  CONSTRAINT servers_port_check CHECK (((port >= 1) AND (port <= 65535))),
  CONSTRAINT servers_server_type_check CHECK ((server_type = ANY (ARRAY['paper'::text, 'spigot'::text, 'purpur'::text, 'vanilla'::text, 'fabric'::text, 'forge'::text]))),
  CONSTRAINT servers_status_check CHECK ((status = ANY (ARRAY['running'::text, 'stopped'::text, 'starting'::text, 'stopping'::text, 'error'::text])))
);
CREATE INDEX servers_agent_id_idx ON servers USING btree (agent_id);
CREATE UNIQUE INDEX servers_agent_id_port_key ON servers USING btree (agent_id, port) WHERE (port IS NOT NULL);
CREATE INDEX servers_name_idx ON servers USING btree (name);
CREATE INDEX servers_restart_after_idx ON servers USING btree (restart_after) WHERE (restart_after IS NOT NULL);
CREATE INDEX servers_status_idx ON servers USING btree (status);
CREATE INDEX servers_user_id_idx ON servers USING btree (user_id);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON servers FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
COMMENT ON COLUMN servers.memory_min IS 'MiB';
COMMENT ON COLUMN servers.memory_max IS 'MiB';
COMMENT ON COLUMN servers.current_op_id IS 'the operation that may act on the server; null = free';
COMMENT ON COLUMN servers.op_seq IS 'the newest operations.op_seq given out';
COMMENT ON COLUMN servers.server_seq IS 'the newest operation_events.server_seq given out';
COMMENT ON COLUMN servers.status_op_seq IS 'with status_step: who wrote the status last; older writers are refused';
COMMENT ON COLUMN servers.owner_epoch IS 'grows with each change of agent_id';
COMMENT ON COLUMN servers.restart_after IS 'it crashed, and the reconciler starts it again then; null = nothing is due';
COMMENT ON COLUMN servers.last_crash IS 'cause and time of the newest crash, as its agent told them';

CREATE TABLE sessions (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  user_id uuid NOT NULL,
  token_hash text NOT NULL,
  family_id uuid DEFAULT gen_random_uuid() NOT NULL,
  ip_address text,
  user_agent text,
  expires_at timestamp with time zone NOT NULL,
  replaced_at timestamp with time zone,
  replaced_by uuid,
  revoked_at timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT sessions_pkey PRIMARY KEY (id),
  CONSTRAINT sessions_token_hash_key UNIQUE (token_hash)
);
CREATE INDEX sessions_expires_at_idx ON sessions USING btree (expires_at);
CREATE INDEX sessions_family_id_idx ON sessions USING btree (family_id);
CREATE INDEX sessions_user_id_idx ON sessions USING btree (user_id);

CREATE TABLE sweeps (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  shard integer DEFAULT 0 NOT NULL,
  verdict text DEFAULT 'running'::text NOT NULL,
  pinged integer DEFAULT 0 NOT NULL,
  failed integer DEFAULT 0 NOT NULL,
  started_at timestamp with time zone DEFAULT now() NOT NULL,
  finished_at timestamp with time zone,
  CONSTRAINT sweeps_pkey PRIMARY KEY (id),
  CONSTRAINT sweeps_verdict_check CHECK ((verdict = ANY (ARRAY['running'::text, 'conclusive'::text, 'inconclusive'::text])))
);
CREATE INDEX sweeps_started_at_idx ON sweeps USING btree (started_at DESC);

CREATE TABLE totp_factors (
  user_id uuid NOT NULL,
  secret text NOT NULL,
  confirmed_at timestamp with time zone,
  last_step bigint DEFAULT 0 NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT totp_factors_pkey PRIMARY KEY (user_id)
);
COMMENT ON COLUMN totp_factors.secret IS 'sealed with the control plane''s key; never readable here';
COMMENT ON COLUMN totp_factors.confirmed_at IS 'null = enrolled and not yet verified: asked for by no login';
COMMENT ON COLUMN totp_factors.last_step IS 'the newest time step that a code was taken of; none of it or before is taken again';

CREATE TABLE upstream_versions (
  server_type text NOT NULL,
  versions jsonb NOT NULL,
  fetched_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT upstream_versions_pkey PRIMARY KEY (server_type),
  CONSTRAINT upstream_versions_server_type_check CHECK ((server_type = ANY (ARRAY['paper'::text, 'spigot'::text, 'purpur'::text, 'vanilla'::text, 'fabric'::text, 'forge'::text])))
);
COMMENT ON COLUMN upstream_versions.versions IS 'newest first: [{version, stable, java_major?}]';

CREATE TABLE users (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  username character varying(50) NOT NULL,
  email character varying(100) NOT NULL,
  password_hash text NOT NULL,
  role text DEFAULT 'user'::text NOT NULL,
  is_active boolean DEFAULT true NOT NULL,
  last_login timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  preferences jsonb,
  CONSTRAINT users_pkey PRIMARY KEY (id),
  CONSTRAINT users_email_key UNIQUE (email),
  CONSTRAINT users_username_key UNIQUE (username),
  CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'user'::text, 'viewer'::text])))
);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
COMMENT ON COLUMN users.preferences IS 'null = the defaults';

CREATE TABLE webhooks (
  id uuid DEFAULT gen_random_uuid() NOT NULL,
  user_id uuid NOT NULL,
  url text NOT NULL,
  secret text NOT NULL,
  events text[] DEFAULT ARRAY[]::text[] NOT NULL,
  is_active boolean DEFAULT true NOT NULL,
  failures integer DEFAULT 0 NOT NULL,
  last_status integer,
  last_delivery_at timestamp with time zone,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  updated_at timestamp with time zone DEFAULT now() NOT NULL,
  format text DEFAULT 'generic'::text NOT NULL,
  last_error text,
  CONSTRAINT webhooks_pkey PRIMARY KEY (id),
  CONSTRAINT webhooks_format_check CHECK ((format = ANY (ARRAY['generic'::text, 'discord'::text])))
);
CREATE INDEX webhooks_user_id_idx ON webhooks USING btree (user_id);
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON webhooks FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
COMMENT ON COLUMN webhooks.secret IS 'sealed with the control plane''s key; never readable here';
COMMENT ON COLUMN webhooks.failures IS 'deliveries given up, one after the other; a success begins anew';

ALTER TABLE api_keys ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE backup_configs ADD CONSTRAINT backup_configs_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE backups ADD CONSTRAINT backups_created_by_fkey FOREIGN KEY (created_by) REFERENCES users(id) ON DELETE SET NULL;
ALTER TABLE backups ADD CONSTRAINT backups_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_notification_id_fkey FOREIGN KEY (notification_id) REFERENCES notifications(id) ON DELETE CASCADE;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks(id) ON DELETE CASCADE;
ALTER TABLE invitations ADD CONSTRAINT invitations_created_by_fkey FOREIGN KEY (created_by) REFERENCES users(id) ON DELETE SET NULL;
ALTER TABLE invitations ADD CONSTRAINT invitations_used_by_fkey FOREIGN KEY (used_by) REFERENCES users(id) ON DELETE SET NULL;
ALTER TABLE log_cursors ADD CONSTRAINT log_cursors_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE notification_heads ADD CONSTRAINT notification_heads_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE notifications ADD CONSTRAINT notifications_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE password_resets ADD CONSTRAINT password_resets_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE recovery_codes ADD CONSTRAINT recovery_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES totp_factors(user_id) ON DELETE CASCADE;
ALTER TABLE sample_cursors ADD CONSTRAINT sample_cursors_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents(id) ON DELETE CASCADE;
ALTER TABLE server_members ADD CONSTRAINT server_members_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE server_members ADD CONSTRAINT server_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE server_plugins ADD CONSTRAINT server_plugins_plugin_id_fkey FOREIGN KEY (plugin_id) REFERENCES plugins(id) ON DELETE CASCADE;
ALTER TABLE server_plugins ADD CONSTRAINT server_plugins_server_id_fkey FOREIGN KEY (server_id) REFERENCES servers(id) ON DELETE CASCADE;
ALTER TABLE servers ADD CONSTRAINT servers_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents(id) ON DELETE CASCADE;
ALTER TABLE servers ADD CONSTRAINT servers_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE sessions ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE totp_factors ADD CONSTRAINT totp_factors_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
ALTER TABLE webhooks ADD CONSTRAINT webhooks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE;
