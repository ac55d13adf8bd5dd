import Joi from 'joi';
import { AGENT_STATUSES, TLS_MODES, type AgentStatus, type TlsMode } from '#src/db/types.js';
import { anyText, boolean, integer, line, named, port, readOnly, time, uuid } from '../fields.js';
import { leaseOfAgent } from './leaseSchema.js';
import { listQuery, sortField, type PageQuery } from '../paging.js';

const agentId = () =>
  Joi.string()
    .max(100)
    .pattern(/^[A-Za-z0-9][A-Za-z0-9_.:-]*$/)
    .example('fra-12');
const tlsFingerprint = () =>
  Joi.string()
    .max(120)
    .pattern(/^(?:[Ss][Hh][Aa]-?256[:=])?(?:[0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}$/)
    .allow('', null)
    .description('SHA-256 of the agent’s certificate in hex; needed by tls_mode pinned');
const labels = () =>
  Joi.object()
    .pattern(Joi.string().max(63), Joi.string().max(255).allow(''))
    .max(64)
    .description('Free to use; keys and values are text');

export const javaWish = Joi.object<{ version: number }, true>({
  version: integer().min(8).max(99).required().description('Its major version').example(21),
});

export interface AgentInput {
  hostname?: string;
  host?: string;
  ip_address?: string;
  port?: number;
  health_check_interval?: number;
  work_dir?: string | null;
  tls_mode?: TlsMode;
  tls_fingerprint?: string | null;
  zone?: string | null;
  labels?: Record<string, string>;
}

const input = {
  hostname: line().max(255).description('For people; we dial ip_address'),
  ip_address: Joi.string()
    .ip({ version: ['ipv4', 'ipv6'], cidr: 'forbidden' })
    .example('10.0.0.12'),
  port: port(),
  health_check_interval: integer().min(1).max(86_400).description('Seconds'),
  work_dir: line()
    .max(4096)
    .allow('', null)
    .description('The folder of its host with the servers’ folders; agents of version 1 need to be told'),
  tls_mode: Joi.string().valid(...TLS_MODES),
  tls_fingerprint: tlsFingerprint(),
  zone: line().max(100).allow('', null),
  labels: labels(),
};

export interface AgentCreation extends AgentInput {
  agent_id: string;
  hostname: string;
  ip_address: string;
}
export const creation = Joi.object<AgentCreation>({
  ...input,
  agent_id: agentId().required(),
  hostname: input.hostname.required(),
  ip_address: input.ip_address.required(),
});

export const change = Joi.object<AgentInput>({
  ...input,
  host: input.hostname.description('Alias of hostname'),
  ...readOnly(
    'id',
    'agent_id',
    'name',
    'status',
    'version',
    'os',
    'cpu_cores',
    'memory_total',
    'disk_total',
    'last_seen',
    'capabilities',
    'lease',
    'maintenance_until',
    'cordoned',
    'quarantined',
    'created_at',
    'updated_at',
  ),
});

export interface MaintenanceInput {
  until: string | null;
}
export const maintenance = Joi.object<MaintenanceInput, true>({
  until: time()
    .allow(null)
    .required()
    .description('Null, or a time that has passed, ends it')
    .example('2027-01-15T12:00:00.000Z'),
});

export interface AgentListQuery extends PageQuery {
  status?: AgentStatus;
  q?: string;
  sort: string;
}
export const list = listQuery<AgentListQuery>({
  status: Joi.string().valid(...AGENT_STATUSES),
  q: Joi.string().max(100).description('Part of the agent_id, hostname or zone'),
  sort: sortField('agent_id', 'hostname', 'status', 'last_seen', 'created_at').default('agent_id'),
});

const view = {
  id: uuid().required(),
  agent_id: anyText().required(),
  name: anyText().required().description('Alias of agent_id'),
  hostname: anyText().required(),
  host: anyText().required().description('Alias of hostname'),
  ip_address: anyText().required(),
  port: port().required(),
  status: Joi.string()
    .valid(...AGENT_STATUSES)
    .required()
    .description('error: reachable, but unhealthy or not to be trusted'),
  version: anyText().allow(null).required(),
  os: anyText().allow(null).required(),
  cpu_cores: integer().allow(null).required(),
  memory_total: integer().allow(null).required().description('Bytes'),
  disk_total: integer().allow(null).required().description('Bytes'),
  last_seen: time().allow(null).required(),
  health_check_interval: integer().required(),
  work_dir: anyText().allow(null).required(),
  tls_mode: Joi.string()
    .valid(...TLS_MODES)
    .required(),
  tls_fingerprint: anyText().allow(null).required(),
  zone: anyText().allow(null).required(),
  labels: Joi.object().pattern(Joi.string(), anyText()).required(),
  capabilities: Joi.any().required().description('What the agent can do; null until it has said hello'),
  lease: leaseOfAgent,
  maintenance_until: time().allow(null).required(),
  cordoned: boolean().required(),
  quarantined: boolean().required(),
  created_at: time().required(),
  updated_at: time().required(),
};

export const agent = named('Agent', Joi.object(view));
export const agents = Joi.array().items(agent);
export const createdAgent = named(
  'CreatedAgent',
  Joi.object({
    ...view,
    agent_token: Joi.string().required().description('Shown this once; the agent’s AGENT_TOKEN'),
  }),
);

export const health = named(
  'AgentHealth',
  Joi.object({
    healthy: boolean().required(),
    status: anyText().required(),
    latency_ms: Joi.number().allow(null).required().description('Of a ping; null when none came back'),
    checks: Joi.object().pattern(Joi.string(), anyText()).required(),
    timestamp: time().required(),
  }),
);

const percent = () => Joi.number().required();
const bytes = () => integer().required().description('Bytes');
export const metrics = named(
  'AgentMetrics',
  Joi.object({
    cpu_percent: percent(),
    memory_total: bytes(),
    memory_used: bytes(),
    memory_percent: percent(),
    disk_total: bytes(),
    disk_used: bytes(),
    disk_percent: percent(),
    network_sent: bytes(),
    network_recv: bytes(),
    uptime: integer().required().description('Seconds'),
    timestamp: time().required(),
    cpu_usage: percent().description('Alias of cpu_percent'),
    memory_usage: percent().description('Alias of memory_percent'),
    disk_usage: percent().description('Alias of disk_percent'),
  }),
);

const measuredPercent = () => Joi.number().allow(null).required();
const measuredBytes = () => bytes().allow(null);
export const history = Joi.array().items(
  named(
    'AgentMetricsPoint',
    Joi.object({
      timestamp: time().required(),
      cpu_percent: measuredPercent().description('Of all cores together'),
      memory_total: measuredBytes(),
      memory_used: measuredBytes(),
      disk_total: measuredBytes(),
      disk_used: measuredBytes(),
      network_sent: measuredBytes(),
      network_recv: measuredBytes(),
    }),
  ),
);

export const stats = named(
  'AgentStats',
  Joi.object({
    total: integer().required(),
    online: integer().required(),
    offline: integer().required(),
    error: integer().required(),
    servers: integer().required(),
  }),
);
