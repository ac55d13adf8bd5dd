import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse as parseDotenv } from 'dotenv';
import { parse as parseYaml } from 'yaml';
import type { Problem } from './problems.js';
import type { Setting } from './setting.js';

export type Source = 'environment' | '.env' | 'config.yaml' | 'default';

/** The texts found, each with where it came from; a setting that nobody gave is absent. */
export type Found = ReadonlyMap<string, { readonly text: string; readonly source: Source }>;

interface Layer {
  readonly source: Exclude<Source, 'default'>;
  readonly values: ReadonlyMap<string, string>;
}

/**
 * Reads environment, `.env` and `config.yaml` (the earlier wins), following `NAME_FILE` for secrets.
 * Without `cwd` no file is looked for. An empty value counts as unset: compose files pass those on.
 */
export function readSources(
  env: NodeJS.ProcessEnv,
  cwd: string | undefined,
  settings: readonly Setting<unknown>[],
  problems: Problem[],
): Found {
  const layers: Layer[] = [{ source: 'environment', values: nonEmpty(Object.entries(env)) }];
  if (cwd !== undefined) {
    const dotenv = readIfThere(join(cwd, '.env'), problems);
    if (dotenv !== undefined)
      layers.push({ source: '.env', values: nonEmpty(Object.entries(parseDotenv(dotenv))) });
    const yaml = readIfThere(join(cwd, 'config.yaml'), problems);
    if (yaml !== undefined)
      layers.push({ source: 'config.yaml', values: readYaml(yaml, settings, problems) });
  }
  const found = new Map<string, { text: string; source: Source }>();
  for (const setting of settings) {
    for (const layer of layers) {
      const text = readFrom(layer, setting, cwd, problems);
      if (text === undefined) continue;
      found.set(setting.name, { text, source: layer.source });
      break;
    }
  }
  return found;
}

function readFrom(
  layer: Layer,
  setting: Setting<unknown>,
  cwd: string | undefined,
  problems: Problem[],
): string | undefined {
  const direct = layer.values.get(setting.name);
  const file = setting.secret ? layer.values.get(`${setting.name}_FILE`) : undefined;
  if (file === undefined) return direct;
  const names = [setting.name];
  if (direct !== undefined) {
    problems.push({
      names,
      message: `${setting.name} and ${setting.name}_FILE are both set (${layer.source}); keep one`,
    });
    return direct;
  }
  try {
    const text = readFileSync(resolve(cwd ?? '.', file), 'utf8').replace(/\r?\n$/, '');
    if (text === '') problems.push({ names, message: `${setting.name}_FILE names an empty file: ${file}` });
    return text === '' ? undefined : text;
  } catch (error) {
    problems.push({ names, message: `${setting.name}_FILE can't be read: ${reason(error)}` });
    return undefined;
  }
}

function readYaml(
  text: string,
  settings: readonly Setting<unknown>[],
  problems: Problem[],
): Map<string, string> {
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (error) {
    problems.push({ names: [], message: `config.yaml is not valid YAML: ${reason(error)}` });
    return new Map();
  }
  if (document === null) return new Map();
  if (typeof document !== 'object' || Array.isArray(document)) {
    problems.push({ names: [], message: 'config.yaml must be a mapping such as PORT: 8080' });
    return new Map();
  }
  const known = new Set(settings.flatMap(({ name, secret }) => (secret ? [name, `${name}_FILE`] : [name])));
  const values: [string, string][] = [];
  for (const [name, value] of Object.entries(document)) {
    const flat = flatten(value);
    if (!known.has(name)) problems.push({ names: [], message: `config.yaml: there is no setting ${name}` });
    else if (flat === undefined)
      problems.push({ names: [name], message: `config.yaml: ${name} must be a single value or a list` });
    else values.push([name, flat]);
  }
  return nonEmpty(values);
}

/** Every source speaks text, so that one parser decides what is valid. */
function flatten(value: unknown): string | undefined {
  if (value === null) return '';
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return String(value);
  if (!Array.isArray(value)) return undefined;
  const items: unknown[] = value;
  return items.every(item => typeof item === 'string' || typeof item === 'number')
    ? items.join(',')
    : undefined;
}

function nonEmpty(entries: readonly (readonly [string, string | undefined])[]): Map<string, string> {
  const values = new Map<string, string>();
  for (const [name, text] of entries)
    if (text !== undefined && text.trim() !== '') values.set(name, text.trim());
  return values;
}

function readIfThere(path: string, problems: Problem[]): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    problems.push({ names: [], message: `${path} can't be read: ${reason(error)}` });
    return undefined;
  }
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
