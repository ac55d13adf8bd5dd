import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import Joi from 'joi';
import { ConfigError, type Problem } from './config/problems.js';
import { brokenRules } from './config/rules.js';
import type { Setting } from './config/setting.js';
import { readSources, type Found, type Source } from './config/sources.js';
import { settings as entries, type SettingName, type Settings } from './config/table.js';

export { ConfigError } from './config/problems.js';

/** What the control plane runs with: validated whole, frozen, durations in milliseconds. */
export type Config = Readonly<
  Omit<Settings, 'runtime' | 'dev' | 'database' | 'redis' | 'temporal' | 'servers' | 'storage'>
> & {
  /** `dataDir` is absolute. */
  readonly runtime: Settings['runtime'];
  readonly dev: Settings['dev'] & { readonly cacheDir: string };
  /** `url` is DATABASE_URL, or made of the DB_ settings; undefined = embedded. */
  readonly database: { readonly url: string | undefined; readonly poolMax: number };
  /** `url` is REDIS_URL, or made of REDIS_HOST and REDIS_PORT; undefined = in-process. */
  readonly redis: { readonly url: string | undefined };
  /** `tls` is undefined for plaintext. */
  readonly temporal: {
    readonly address: string | undefined;
    readonly namespace: string;
    readonly apiKey: string | undefined;
    readonly tls: TemporalTls | undefined;
  };
  readonly servers: Settings['servers'] & { readonly allowPrivateUrls: boolean };
  /** `dir` is absolute. */
  readonly storage: Settings['storage'] & { readonly dir: string };
  /** Where each setting came from: tells a default from the same value given on purpose. */
  readonly provenance: ReadonlyMap<SettingName, Source>;
};

export interface TemporalTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string | undefined;
}

interface Options {
  /** Where `.env` and `config.yaml` lie, and what relative paths start from; absent = no files are read. */
  readonly cwd?: string;
}

/**
 * Reads and validates every setting: environment, then `.env`, then `config.yaml`, then defaults.
 * Throws one `ConfigError` that lists all that is wrong.
 */
export function loadConfig(env: NodeJS.ProcessEnv, { cwd }: Options = {}): Config {
  const problems: Problem[] = [];
  const found = readSources(
    env,
    cwd,
    entries.map(({ setting }) => setting),
    problems,
  );
  const settings = validate(found, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return deepFreeze(derive(settings, found, env, cwd ?? '.'));
}

const schema = Joi.object<Settings>(inGroups(setting => setting.schema));

/** `{group: {key: map(setting)}}`, the table's own shape. */
function inGroups<T>(map: (setting: Setting<unknown, SettingName>) => T): Record<string, Record<string, T>> {
  const groups: Record<string, Record<string, T>> = {};
  for (const { group, key, setting } of entries) (groups[group] ??= {})[key] = map(setting);
  return groups;
}

/** Adds to `problems`; the answer holds defaults in place of what could not be read. */
function validate(found: Found, problems: Problem[]): Settings {
  const given = inGroups(({ name, default: fallback }) => found.get(name)?.text ?? fallback);
  const result = schema.validate(given, { abortEarly: false });
  const rejected = new Set((result.error?.details ?? []).map(({ path }) => path.join('.')));
  for (const { group, key, setting } of entries) {
    if (rejected.has(`${group}.${key}`))
      problems.push({ names: [setting.name], message: complaint(setting, found) });
  }
  const unreadable = new Set(problems.flatMap(problem => problem.names));
  const usable = inGroups(({ name, default: fallback }) =>
    unreadable.has(name) ? fallback : (found.get(name)?.text ?? fallback),
  );
  const settings = Joi.attempt(usable, schema);
  problems.push(...brokenRules(settings, unreadable));
  return settings;
}

function complaint({ name, expects, secret }: Setting<unknown>, found: Found): string {
  const given = found.get(name);
  const got = secret || given === undefined ? '' : `, got "${given.text}"`;
  return `${name} must be ${expects}${got} (${given?.source ?? 'default'})`;
}

function derive(settings: Settings, found: Found, env: NodeJS.ProcessEnv, cwd: string): Config {
  const { runtime, dev, database, redis, temporal, servers, storage, ...rest } = settings;
  const dataDir = resolve(cwd, runtime.dataDir);
  const { workflowBundle } = runtime;
  const caches = env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  return {
    ...rest,
    runtime: {
      ...runtime,
      dataDir,
      workflowBundle: workflowBundle === undefined ? undefined : resolve(cwd, workflowBundle),
    },
    dev: { ...dev, cacheDir: resolve(cwd, dev.cacheDir ?? join(caches, 'aymc')) },
    database: { url: database.url ?? databaseUrl(database), poolMax: database.poolMax },
    redis: {
      url: redis.url ?? (redis.host === undefined ? undefined : `redis://${redis.host}:${redis.port}`),
    },
    temporal: {
      address: temporal.address,
      namespace: temporal.namespace,
      apiKey: temporal.apiKey,
      tls: temporalTls(temporal),
    },
    servers: { ...servers, allowPrivateUrls: servers.allowPrivateUrls ?? runtime.env !== 'production' },
    storage: { ...storage, dir: resolve(cwd, storage.dir ?? join(dataDir, 'backups')) },
    provenance: new Map(entries.map(({ setting: { name } }) => [name, found.get(name)?.source ?? 'default'])),
  };
}

function databaseUrl({ host, port, user, password, name }: Settings['database']): string | undefined {
  if (host === undefined) return undefined;
  const login = [user, ...(password === undefined ? [] : [password])].map(encodeURIComponent).join(':');
  return `postgres://${login}@${host}:${port}/${encodeURIComponent(name)}`;
}

function temporalTls(temporal: Settings['temporal']): TemporalTls | undefined {
  const { tls, tlsCa: ca, tlsCert: cert, tlsKey: key, tlsServerName: serverName, apiKey } = temporal;
  const implied = [ca, cert, serverName, apiKey].some(part => part !== undefined);
  return tls || implied ? { ca, cert, key, serverName } : undefined;
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) deepFreeze(part);
  return Object.freeze(value);
}
