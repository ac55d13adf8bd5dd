import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';

export interface AgentConfig {
  readonly agentId: string;
  /** Where the lease is renewed, and the token that is shown there. Undefined: this agent has no lease. */
  readonly controlPlane: { readonly url: string; readonly token: string } | undefined;
  /** What callers must show as Bearer. Undefined only on a loopback address. */
  readonly token: string | undefined;
  readonly host: string;
  /** 0 = a free one. */
  readonly port: number;
  readonly workDir: string;
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** Reported to the control plane, which places servers by it; 0 = no limit. */
  readonly maxServers: number;
  readonly sampleIntervalMs: number;
  /** How often a console that can be asked is; 0 = never. */
  readonly tpsIntervalMs: number;
  /** Whether a URL that a caller names may lead into private networks. */
  readonly allowPrivateUrls: boolean;
  readonly logLevel: string;
  readonly javaHome: string | undefined;
  readonly path: string;
  readonly home: string;
  /** What every JVM gets beside the variables that name its server. Never the token. */
  readonly childEnv: Readonly<Record<string, string>>;
}

export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`the agent's settings are not valid:\n${problems.map(p => `  - ${p}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];
const UNIT_MS = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
]);
const DURATION_MAX_MS = 60 * 60_000;
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

/** Reads and validates all settings at once; throws ConfigError with every problem, not only the first. */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): AgentConfig {
  const problems: string[] = [];
  const text = (name: string): string | undefined => {
    const value = env[name]?.trim();
    return value === '' ? undefined : value;
  };
  const integer = (name: string, fallback: number, max: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const parsed = Number(value);
    if (/^\d+$/.test(value) && parsed <= max) return parsed;
    problems.push(`${name} must be a whole number from 0 to ${max}`);
    return fallback;
  };
  const duration = (name: string, fallbackMs: number, minMs: number): number => {
    const value = text(name);
    if (value === undefined) return fallbackMs;
    const [, amount, unit] = /^(\d{1,9})(ms|s|m)$/.exec(value === '0' ? '0s' : value) ?? [];
    const ms = Number(amount) * (UNIT_MS.get(unit ?? '') ?? Number.NaN);
    if (ms >= minMs && ms <= DURATION_MAX_MS) return ms;
    problems.push(`${name} must be a time such as 500ms, 10s or 1m, from ${minMs}ms to 1h`);
    return fallbackMs;
  };
  const flag = (name: string): boolean => {
    const value = text(name)?.toLowerCase() ?? 'false';
    if (!/^(1|0|true|false|yes|no)$/.test(value)) problems.push(`${name} must be true or false`);
    return /^(1|true|yes)$/.test(value);
  };
  const fileAt = (name: string): Buffer | undefined => {
    const path = text(name);
    if (path === undefined) return undefined;
    try {
      return readFileSync(path);
    } catch {
      problems.push(`${name}: ${path} can't be read`);
      return undefined;
    }
  };

  const agentId = text('AGENT_ID') ?? hostname();
  if (!/^[A-Za-z0-9_.-]{1,100}$/.test(agentId)) {
    problems.push('AGENT_ID must be 1 to 100 letters, digits, dots, dashes or underscores');
  }
  const controlPlaneUrl = text('AYMC_URL');
  if (controlPlaneUrl !== undefined && !isPlainHttpUrl(controlPlaneUrl)) {
    problems.push('AYMC_URL must be an http or https URL without user and password');
  }
  const host = text('AGENT_HOST') ?? '127.0.0.1';
  const token = text('AGENT_TOKEN') ?? fileAt('AGENT_TOKEN_FILE')?.toString('utf8').trim();
  if (!token && !LOOPBACK.test(host)) {
    problems.push(`AGENT_TOKEN is required when AGENT_HOST (${host}) is not a loopback address`);
  }
  // It travels in headers, and what a header refuses would be quoted in the error.
  if (token && !/^[\x20-\x7e]+$/.test(token)) problems.push('AGENT_TOKEN must be printable ASCII');
  const cert = fileAt('AGENT_TLS_CERT');
  const key = fileAt('AGENT_TLS_KEY');
  if ((text('AGENT_TLS_CERT') === undefined) !== (text('AGENT_TLS_KEY') === undefined)) {
    problems.push('AGENT_TLS_CERT and AGENT_TLS_KEY go together');
  }
  const workDir = resolve(text('AGENT_WORK_DIR') ?? 'aymc-agent');
  if (/[!+]/.test(workDir)) {
    problems.push('AGENT_WORK_DIR must not contain ! or +: Paper refuses to run below such a folder');
  }
  const logLevel = text('LOG_LEVEL') ?? 'info';
  if (!LOG_LEVELS.includes(logLevel)) problems.push(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}`);

  const path = text('PATH') ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const home = text('HOME') ?? '/';
  const oracle = text('AYMC_ORACLE');
  const config: AgentConfig = {
    agentId,
    controlPlane: controlPlaneUrl && token ? { url: controlPlaneUrl, token } : undefined,
    token: token || undefined,
    host,
    port: integer('AGENT_PORT', 50051, 65535),
    workDir,
    tls: cert && key ? { cert, key } : undefined,
    maxServers: integer('AGENT_MAX_SERVERS', 0, 100_000),
    sampleIntervalMs: duration('AGENT_SAMPLE_INTERVAL', 10_000, 100),
    tpsIntervalMs: duration('AGENT_TPS_INTERVAL', 60_000, 0),
    allowPrivateUrls: flag('ALLOW_PRIVATE_URLS'),
    logLevel,
    javaHome: text('JAVA_HOME'),
    path,
    home,
    childEnv: {
      PATH: path,
      HOME: home,
      LANG: text('LANG') ?? 'C.UTF-8',
      AYMC_AGENT_ID: agentId,
      ...(oracle === undefined ? {} : { AYMC_ORACLE: oracle }),
    },
  };
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config);
}

function isPlainHttpUrl(text: string): boolean {
  try {
    const { protocol, username, password } = new URL(text);
    return /^https?:$/.test(protocol) && username === '' && password === '';
  } catch {
    return false;
  }
}
