import type Joi from 'joi';

export type JsonSchema = Record<string, unknown>;
/** Name → schema; grows while schemas are converted. */
export type Components = Record<string, JsonSchema>;

/** joi's own JSON Schema (2020-12, which OpenAPI 3.1 speaks), with its named parts moved into `components`. */
export function toJsonSchema(
  schema: Joi.Schema,
  mode: 'input' | 'output',
  components: Components,
): JsonSchema {
  const json = schema['~standard'].jsonSchema[mode]({ target: 'draft-2020-12' });
  return refine(schema.describe(), json, components);
}

/** Walks joi's description and its JSON Schema side by side: the one knows names and examples, the other is what we publish. */
function refine(described: JsonSchema, json: JsonSchema, components: Components): JsonSchema {
  const refined: JsonSchema = { ...json };
  if (isObject(json['properties'])) {
    refined['properties'] = Object.fromEntries(
      Object.entries(json['properties']).map(([key, property]) => {
        const inner: unknown = isObject(described['keys']) ? described['keys'][key] : undefined;
        return [key, isObject(inner) && isObject(property) ? refine(inner, property, components) : property];
      }),
    );
  }
  const item = listOf(described['items'])[0];
  if (isObject(item) && isObject(json['items'])) refined['items'] = refine(item, json['items'], components);
  // joi lists null among the types and forgets it among the values.
  if (Array.isArray(json['enum']) && listOf(json['type']).includes('null')) {
    refined['enum'] = [...listOf(json['enum']), null];
  }
  if (json['format'] === 'ip') {
    delete refined['format'];
    refined['anyOf'] = [{ format: 'ipv4' }, { format: 'ipv6' }];
  }
  Object.assign(refined, dependenciesOf(described));
  if (described['examples'] !== undefined) refined['examples'] = described['examples'];
  return asComponent(described, refined, components);
}

/** Which keys need one another: joi checks them and says nothing about it in its JSON Schema. */
function dependenciesOf(described: JsonSchema): JsonSchema {
  const json: JsonSchema = {};
  for (const dependency of listOf(described['dependencies'])) {
    if (!isObject(dependency)) continue;
    const peers = listOf(dependency['peers']);
    const oneRequired = peers.map(peer => ({ required: [peer] }));
    if (dependency['rel'] === 'or') json['anyOf'] = oneRequired;
    if (dependency['rel'] === 'xor') json['oneOf'] = oneRequired;
    if (dependency['rel'] === 'and') {
      json['dependentRequired'] = Object.fromEntries(
        peers.map(peer => [String(peer), peers.filter(other => other !== peer)]),
      );
    }
  }
  return json;
}

function asComponent(described: JsonSchema, json: JsonSchema, components: Components): JsonSchema {
  for (const meta of listOf(described['metas'])) {
    if (!isObject(meta) || typeof meta['component'] !== 'string') continue;
    components[meta['component']] = json;
    return { $ref: `#/components/schemas/${meta['component']}` };
  }
  return json;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
