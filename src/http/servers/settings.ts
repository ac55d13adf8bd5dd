import type { FailoverPolicy, ServerRow } from '#src/db/types.js';
import type { UpgradeParams } from '#src/db/upgrades.js';
import { eitherOf } from '../aliases.js';
import { invalidField } from '../parse.js';
import type { ServerCreation, ServerInput, UpgradeInput } from './schema.js';

/** The columns that are the user's to say; all else about a server is written by operations. */
export type ServerSettings = Pick<
  ServerRow,
  | 'name'
  | 'display_name'
  | 'server_type'
  | 'version'
  | 'port'
  | 'memory_min'
  | 'memory_max'
  | 'max_players'
  | 'java_args'
  | 'java_version'
  | 'auto_start'
  | 'auto_restart'
  | 'restart_when_hung'
  | 'accept_eula'
  | 'failover_policy'
  | 'failover_empty_world'
  | 'jar_url'
  | 'jar_sha256'
>;

export interface SettingDefaults {
  acceptEula: boolean;
  failoverPolicyDefault: FailoverPolicy;
}

const DEFAULT_MIN_MB = 1024;
const DEFAULT_MAX_MB = 2048;

/** A port of null is still to be chosen. */
export function settingsOfNew(input: ServerCreation, defaults: SettingDefaults): ServerSettings {
  const serverType = eitherOf(undefined, ['server_type', 'type'], input.server_type, input.type);
  if (serverType === undefined) throw invalidField('body.server_type', 'server_type is required');
  const min = eitherOf(undefined, ['memory_min', 'ram_min'], input.memory_min, input.ram_min);
  const max = eitherOf(undefined, ['memory_max', 'ram_max'], input.memory_max, input.ram_max);
  return consistent({
    name: input.name,
    display_name: input.display_name || null,
    server_type: serverType,
    version: input.version,
    port: input.port ?? null,
    // Whoever names one end only does not mean to contradict a default at the other.
    memory_min: min ?? Math.min(DEFAULT_MIN_MB, max ?? DEFAULT_MAX_MB),
    memory_max: max ?? Math.max(DEFAULT_MAX_MB, min ?? DEFAULT_MIN_MB),
    max_players: input.max_players ?? 20,
    java_args: input.java_args || null,
    java_version: majorOf(input.java_version),
    auto_start: input.auto_start ?? false,
    auto_restart: input.auto_restart ?? true,
    restart_when_hung: input.restart_when_hung ?? false,
    accept_eula: input.accept_eula ?? defaults.acceptEula,
    failover_policy: input.failover_policy ?? defaults.failoverPolicyDefault,
    failover_empty_world: input.failover_empty_world ?? false,
    jar_url: input.jar_url ?? null,
    jar_sha256: input.jar_sha256 ?? null,
  });
}

/** What a partial change makes of a server. Rejects with `invalid-request` what would contradict itself. */
export function changedSettings(current: ServerRow, input: ServerInput): ServerSettings {
  const kept = <T>(given: T | undefined, stored: T): T => (given === undefined ? stored : given);
  const changed = consistent({
    name: kept(input.name, current.name),
    display_name: kept(input.display_name, current.display_name) || null,
    server_type:
      eitherOf(current.server_type, ['server_type', 'type'], input.server_type, input.type) ??
      current.server_type,
    version: kept(input.version, current.version),
    port: input.port ?? current.port,
    memory_min:
      eitherOf(current.memory_min, ['memory_min', 'ram_min'], input.memory_min, input.ram_min) ??
      current.memory_min,
    memory_max:
      eitherOf(current.memory_max, ['memory_max', 'ram_max'], input.memory_max, input.ram_max) ??
      current.memory_max,
    max_players: kept(input.max_players, current.max_players),
    java_args: kept(input.java_args, current.java_args) || null,
    java_version: input.java_version === undefined ? current.java_version : majorOf(input.java_version),
    auto_start: kept(input.auto_start, current.auto_start),
    auto_restart: kept(input.auto_restart, current.auto_restart),
    restart_when_hung: kept(input.restart_when_hung, current.restart_when_hung),
    accept_eula: kept(input.accept_eula, current.accept_eula),
    failover_policy: kept(input.failover_policy, current.failover_policy),
    failover_empty_world: kept(input.failover_empty_world, current.failover_empty_world),
    jar_url: kept(input.jar_url, current.jar_url),
    jar_sha256: kept(input.jar_sha256, current.jar_sha256),
  });
  if (current.installed) assertSameSoftware(current, changed);
  return changed;
}

function consistent(settings: ServerSettings): ServerSettings {
  if (settings.memory_min > settings.memory_max) {
    throw invalidField(
      'body.memory_min',
      `memory_min (${settings.memory_min}) is more than memory_max (${settings.memory_max})`,
    );
  }
  assertJarPair(settings);
  return settings;
}

function assertJarPair({ jar_url, jar_sha256 }: Pick<ServerSettings, 'jar_url' | 'jar_sha256'>): void {
  if ((jar_url === null) !== (jar_sha256 === null))
    throw invalidField('body.jar_sha256', 'jar_url and jar_sha256 come together or not at all');
}

/** What an upgrade asks for, as its operation keeps it. Throws `invalid-request` for what contradicts itself. */
export function upgradeParams({
  version,
  jar_url = null,
  jar_sha256 = null,
  ...input
}: UpgradeInput): UpgradeParams {
  assertJarPair({ jar_url, jar_sha256 });
  const type = eitherOf(undefined, ['server_type', 'type'], input.server_type, input.type);
  return { server_type: type ?? null, version, jar_url, jar_sha256 };
}

/** What lies installed would no longer be what the row says. */
function assertSameSoftware(current: ServerSettings, changed: ServerSettings): void {
  for (const column of ['server_type', 'version', 'jar_url', 'jar_sha256'] as const) {
    if (current[column] !== changed[column])
      throw invalidField(`body.${column}`, `${column} can't change once the server is installed`);
  }
}

function majorOf(version: number | string | null | undefined): number | null {
  return version === null || version === undefined || version === '' ? null : Number(version);
}
