import { isObject, type Components, type JsonSchema } from './jsonSchema.js';

/** Texts that say more than their type does, by the format or the name of the field. */
const BY_FORMAT: Readonly<Record<string, string>> = {
  uuid: '0e8d5b4e-7a7b-4c0c-9a54-0d9f1c7e2f11',
  'date-time': '2026-01-15T12:00:00.000Z',
  email: 'steve@example.com',
  uri: 'https://example.com/server.jar',
  ipv4: '10.0.0.12',
};
const BY_NAME: Readonly<Record<string, string>> = {
  username: 'steve',
  email: 'steve@example.com',
  agent_id: 'fra-12',
  hostname: 'fra-12.example.com',
  host: 'fra-12.example.com',
  ip_address: '10.0.0.12',
  version: '1.21.4',
  message: 'Done',
};

/**
 * What a value of the schema looks like: its own example where it has one, else the least that its shape asks for.
 * Pure. It may break a pattern that names no example; the test of the document finds that.
 */
export function exampleOf(schema: unknown, components: Components, name = 'text'): unknown {
  if (!isObject(schema)) return null;
  const referred = referredBy(schema, components);
  if (referred) return exampleOf(referred, components, name);
  for (const given of [schema['example'], first(schema['examples']), schema['const'], schema['default']]) {
    if (given !== undefined) return given;
  }
  const choice = first(schema['enum']);
  if (choice !== undefined) return choice;
  const branch = branchOf(schema);
  if (branch) return exampleOf(branch, components, name);
  return ofType(schema, components, name);
}

function ofType(schema: JsonSchema, components: Components, name: string): unknown {
  switch (typeOf(schema)) {
    case 'object':
      return ofObject(schema, components);
    case 'array':
      return ofList(schema, components, name);
    case 'integer':
    case 'number':
      return ofNumber(schema);
    case 'boolean':
      return true;
    case 'string':
      return ofText(schema, name);
    default:
      return null;
  }
}

/** The keys that it needs; of a partial change the first one. */
function ofObject(schema: JsonSchema, components: Components): Record<string, unknown> {
  const properties = isObject(schema['properties']) ? schema['properties'] : {};
  const changeable = Object.keys(properties).filter(
    name => isObject(properties[name]) && typeOf(properties[name]),
  );
  const needed = [...listOf(schema['required']), ...neededByBranch(schema)].map(String);
  const names = needed.length > 0 ? needed : changeable.slice(0, 1);
  return Object.fromEntries(
    Object.keys(properties)
      .filter(name => names.includes(name))
      .map(name => [name, exampleOf(properties[name], components, name)]),
  );
}

/** Of "one of these keys", the first. */
function neededByBranch(schema: JsonSchema): unknown[] {
  const branch = first(schema['anyOf']) ?? first(schema['oneOf']);
  return isObject(branch) ? listOf(branch['required']) : [];
}

function ofList(schema: JsonSchema, components: Components, name: string): unknown[] {
  return isObject(schema['items']) ? [exampleOf(schema['items'], components, name)] : [];
}

function ofNumber({ minimum, maximum }: JsonSchema): number {
  const least = typeof minimum === 'number' ? minimum : 1;
  return typeof maximum === 'number' ? Math.min(Math.max(least, 1), maximum) : Math.max(least, 1);
}

function ofText({ format, minLength }: JsonSchema, name: string): string {
  const byFormat = typeof format === 'string' ? BY_FORMAT[format] : undefined;
  const text = byFormat ?? BY_NAME[name] ?? name.replaceAll('_', '-');
  return typeof minLength === 'number' ? text.padEnd(minLength, 'x') : text;
}

function referredBy({ $ref }: JsonSchema, components: Components): JsonSchema | undefined {
  return typeof $ref === 'string' ? components[$ref.slice($ref.lastIndexOf('/') + 1)] : undefined;
}

/** The first way to be valid, of a schema that is a choice and not an object with a choice of keys. */
function branchOf({ anyOf, oneOf, ...rest }: JsonSchema): JsonSchema | undefined {
  const branch = first(anyOf) ?? first(oneOf);
  return isObject(branch) && rest['properties'] === undefined ? { ...rest, ...branch } : undefined;
}

/** Null is a value for whoever has none better. */
function typeOf({ type }: JsonSchema): string | undefined {
  const types = listOf(type).length > 0 ? listOf(type) : [type];
  const found = types.find(candidate => candidate !== 'null');
  return typeof found === 'string' ? found : undefined;
}

function first(list: unknown): unknown {
  return listOf(list)[0];
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
