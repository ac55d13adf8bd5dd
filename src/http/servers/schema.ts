import Joi from 'joi';
import {
  FAILOVER_POLICIES,
  LOG_LEVELS,
  SERVER_TYPES,
  type FailoverPolicy,
  type LogLevel,
  type ServerType,
} from '#src/db/types.js';
import { CRASH_CODES } from '#src/domain/crash.js';
import { DESIRED_STATES, SERVER_STATUSES } from '#src/domain/serverState.js';
import {
  anyText,
  boolean,
  integer,
  line,
  named,
  pathlessLine,
  port,
  readOnly,
  time,
  uuid,
} from '../fields.js';
import { listQuery, sortField } from '../paging.js';
import type { ServerListQuery } from './queries.js';

const MAX_MEMORY_MB = 1_048_576;

/** Some agents name folders after it. */
const name = () => pathlessLine().max(100).example('Survival');
export const version = () =>
  Joi.string()
    .max(20)
    .pattern(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/)
    .example('1.21.4');
const serverType = () => Joi.string().valid(...SERVER_TYPES);
const memory = () => integer().min(16).max(MAX_MEMORY_MB).description('MiB');
const javaArgs = () =>
  line().max(2000).allow('', null).description('Split like a shell would, and never given to one');
const javaVersion = () =>
  Joi.alternatives(integer().min(8).max(99), Joi.string().pattern(/^\d{1,2}$/))
    .allow('', null)
    .description('Major version; absent: the lowest that this Minecraft version runs on, or any above');
const autoStart = () =>
  boolean().description(
    'Starts with its host: when that has booted, the server is started unless someone has stopped it, also after crashing too often. With `npm start` it is started whoever has stopped it',
  );
const autoRestart = () =>
  boolean().description(
    'Is started again after a crash, later each time, up to 5 times within 30 minutes; and when its host has booted, if it ran',
  );
const jarUrl = () =>
  Joi.string()
    .uri({ scheme: ['https', 'http'] })
    .max(2000)
    .allow(null)
    .description('Your own jar in place of the one of type and version; with jar_sha256');
const jarSha256 = () =>
  Joi.string()
    .pattern(/^[0-9a-fA-F]{64}$/)
    .lowercase()
    .allow(null);

/** What a client may say about a server. Names on the right of a pair are aliases that existing clients use. */
export interface ServerInput {
  name?: string;
  display_name?: string | null;
  server_type?: ServerType;
  type?: ServerType;
  version?: string;
  port?: number | null;
  memory_min?: number;
  ram_min?: number;
  memory_max?: number;
  ram_max?: number;
  max_players?: number;
  java_args?: string | null;
  java_version?: number | string | null;
  auto_start?: boolean;
  auto_restart?: boolean;
  restart_when_hung?: boolean;
  accept_eula?: boolean;
  failover_policy?: FailoverPolicy;
  failover_empty_world?: boolean;
  jar_url?: string | null;
  jar_sha256?: string | null;
}

const input = {
  name: name(),
  display_name: line().max(100).allow('', null),
  server_type: serverType(),
  type: serverType().description('Alias of server_type'),
  version: version(),
  port: port(),
  memory_min: memory(),
  ram_min: memory().description('Alias of memory_min'),
  memory_max: memory(),
  ram_max: memory().description('Alias of memory_max'),
  max_players: integer().min(1).max(100_000),
  java_args: javaArgs(),
  java_version: javaVersion(),
  auto_start: autoStart(),
  auto_restart: autoRestart(),
  restart_when_hung: boolean().description(
    'Restart it when it runs and has answered nothing for long (HUNG_AFTER); default false',
  ),
  accept_eula: boolean().description('You accept https://aka.ms/MinecraftEULA'),
  failover_policy: Joi.string().valid(...FAILOVER_POLICIES),
  failover_empty_world: boolean(),
  jar_url: jarUrl(),
  jar_sha256: jarSha256(),
};

export interface ServerCreation extends ServerInput {
  name: string;
  version: string;
  agent_id?: string | null;
}

export const creation = Joi.object<ServerCreation>({
  ...input,
  name: name().required(),
  version: version().required(),
  port: port().allow(null).description('Absent: a free one of the agent, from 25565 up'),
  agent_id: uuid().allow('', null).description('Absent: the balancer chooses'),
})
  .or('server_type', 'type')
  .and('jar_url', 'jar_sha256')
  .example({
    name: 'Survival',
    server_type: 'paper',
    version: '1.21.4',
    memory_max: 4096,
    accept_eula: true,
  });

export const change = Joi.object<ServerInput>({
  ...input,
  port: port().allow(null),
  ...readOnly(
    'id',
    'agent_id',
    'user_id',
    'status',
    'desired_state',
    'installed',
    'work_dir',
    'connect_address',
    'operation_id',
    'created_at',
    'updated_at',
    'last_started',
    'last_stopped',
    'last_crash',
    'restart_after',
  ),
});

export interface UpgradeInput {
  server_type?: ServerType;
  type?: ServerType;
  version: string;
  jar_url?: string | null;
  jar_sha256?: string | null;
}
export const upgrade = Joi.object<UpgradeInput, true>({
  server_type: serverType().description('Absent: as it is'),
  type: serverType().description('Alias of server_type'),
  version: version().required(),
  jar_url: jarUrl(),
  jar_sha256: jarSha256(),
})
  .and('jar_url', 'jar_sha256')
  .example({ version: '1.21.11' });

export const list = listQuery<ServerListQuery>({
  status: Joi.string().valid(...SERVER_STATUSES),
  agent_id: uuid(),
  server_type: serverType(),
  user_id: uuid().description('Admins only'),
  q: Joi.string().max(100).description('Part of the name'),
  sort: sortField('name', 'status', 'created_at', 'updated_at', 'port', 'version').default('-created_at'),
});

export const stopQuery = Joi.object<{ force?: boolean }>({
  force: Joi.boolean().description('Does not wait for a backup that is being made'),
});

const cursor = () => Joi.string().max(64).example('djE6MTc2NDAwMDAwMDAwMDAwMA');

export interface LogsQuery {
  level?: LogLevel;
  q?: string;
  before?: string;
  after?: string;
  limit?: number;
}
export const logs = Joi.object<LogsQuery>({
  level: Joi.string().valid(...LOG_LEVELS),
  q: Joi.string().max(200).description('Part of the message or of its stack trace, whatever its case'),
  before: cursor().description('Lines older than this'),
  after: cursor().description('Lines newer than this, the oldest of them first to be chosen'),
  limit: Joi.number().integer().min(1).max(1000).description('Default 100'),
}).without('before', 'after');

export const logEntries = Joi.array().items(
  Joi.object({
    id: integer().required(),
    cursor: cursor().required(),
    server_id: uuid().required(),
    timestamp: time().required(),
    level: Joi.string()
      .valid(...LOG_LEVELS)
      .required(),
    source: anyText().required(),
    message: anyText().required(),
    exception: anyText().allow(null).required(),
    stack_trace: anyText().allow(null).required(),
  }),
);

/** A line and its newline fit into what a pipe takes at once, so two lines never mix. */
const MAX_COMMAND_BYTES = 4096;
const ONE_LINE = new RegExp(String.raw`^[^\u0000\r\n]*$`);

export interface CommandInput {
  command: string;
}
export const command = Joi.object<CommandInput, true>({
  command: Joi.string()
    .trim()
    .pattern(ONE_LINE, 'one line')
    .custom((text: string, helpers) =>
      Buffer.byteLength(text) < MAX_COMMAND_BYTES
        ? text
        : helpers.error('string.max', { limit: MAX_COMMAND_BYTES - 1 }),
    )
    .required()
    .example('say hello'),
});

const lastCrash = Joi.object({
  code: Joi.string()
    .valid(...CRASH_CODES)
    .required(),
  detail: anyText().required(),
  evidence: Joi.array().items(anyText()).required().description('The last lines that tell of it'),
  report_path: anyText().allow(null).required().description('In the server’s folder'),
  exit_code: integer().allow(null).required().description('Null: nobody saw it end'),
  run_id: anyText().required(),
  at: time().required(),
});

const view = {
  id: uuid().required(),
  agent_id: uuid().required(),
  user_id: uuid().required(),
  name: anyText().required(),
  display_name: anyText().allow(null).required(),
  server_type: serverType().required(),
  type: serverType().required(),
  version: anyText().required(),
  port: port().allow(null).required(),
  max_players: integer().required(),
  status: Joi.string()
    .valid(...SERVER_STATUSES)
    .required(),
  desired_state: Joi.string()
    .valid(...DESIRED_STATES)
    .required(),
  installed: boolean().required(),
  work_dir: anyText().allow(null).required(),
  java_args: anyText().allow(null).required(),
  java_version: anyText().allow(null).required().description('Null: what the version needs'),
  auto_start: boolean().required(),
  auto_restart: boolean().required(),
  restart_when_hung: boolean().required(),
  memory_min: integer().required().description('MiB'),
  memory_max: integer().required().description('MiB'),
  ram_min: integer().required(),
  ram_max: integer().required(),
  accept_eula: boolean().required(),
  failover_policy: Joi.string()
    .valid(...FAILOVER_POLICIES)
    .required(),
  failover_empty_world: boolean().required(),
  jar_url: anyText().allow(null).required(),
  jar_sha256: anyText().allow(null).required(),
  connect_address: anyText().allow(null).required().description('Where players connect'),
  operation_id: uuid().allow(null).required().description('The operation that acts on the server now'),
  created_at: time().required(),
  updated_at: time().required(),
  last_started: time().allow(null).required(),
  last_stopped: time().allow(null).required(),
  last_crash: lastCrash.allow(null).required(),
  restart_after: time().allow(null).required().description('It crashed, and is started again then'),
};

export const server = named('Server', Joi.object(view));
export const servers = Joi.array().items(server);

export const status = named(
  'ServerStatus',
  Joi.object({
    status: Joi.string()
      .valid(...SERVER_STATUSES)
      .required(),
    desired_state: Joi.string()
      .valid(...DESIRED_STATES)
      .required(),
    pid: integer().allow(null).required(),
    uptime_seconds: integer().allow(null).required(),
    players_online: integer().allow(null).required(),
    max_players: integer().required(),
    tps: Joi.number().allow(null).required(),
    cpu_percent: Joi.number().allow(null).required(),
    memory_used: integer().allow(null).required().description('Bytes'),
    disk_used: integer().allow(null).required().description('Bytes, of all files of the server'),
    observed_at: time().required().description('When the status was seen; old when the agent is away'),
  }),
);

export const metrics = Joi.array().items(
  named(
    'ServerMetrics',
    Joi.object({
      server_id: uuid().required(),
      timestamp: time().required(),
      cpu_percent: Joi.number().allow(null).required().description('100 = one core'),
      memory_used: integer().allow(null).required().description('Bytes'),
      players_online: integer().allow(null).required(),
      tps: Joi.number().allow(null).required().description('Ticks per second; 20 is as it should be'),
      uptime_seconds: integer().allow(null).required(),
      disk_used: integer().allow(null).required().description('Bytes, of all files of the server'),
    }),
  ),
);

export const commandAnswer = named(
  'CommandAnswer',
  Joi.object({ accepted: boolean().required(), output: anyText() }),
);
