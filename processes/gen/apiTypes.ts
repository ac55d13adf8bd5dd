import { isObject, type JsonSchema } from '#src/http/jsonSchema.js';
import type { OpenApiDocument } from '#src/http/openApi.js';

const HEAD = `/**
 * Types of the REST API; made by \`npm run gen\` from docs/generated/openapi.json. Copy this file into your client:
 * it is what openapi-fetch takes, \`createClient<paths>({ baseUrl })\`.
 */
`;
const HEADERS = '{\n  headers: { [name: string]: unknown };';
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'] as const;
const PLACES = ['query', 'header', 'path', 'cookie'] as const;

/**
 * The document as TypeScript, in the shape of openapi-typescript, whose own release needs the API of an older compiler
 * than ours. Knows the JSON Schema that joi writes, and throws on what it does not know. Pure.
 */
export function apiTypes({ paths, components }: OpenApiDocument): string {
  const schemas = Object.entries(components.schemas).map(([name, schema]) =>
    property(name, typeOf(schema), schema),
  );
  const described = Object.entries(paths).map(([path, methods]) => property(path, pathType(methods)));
  return [
    HEAD,
    `export interface paths ${block(described)}`,
    '',
    `export interface components ${block([property('schemas', block(schemas))])}`,
    '',
  ].join('\n');
}

function pathType(methods: Record<string, unknown>): string {
  return block([
    property('parameters', parametersType([])),
    ...METHODS.map(method =>
      isObject(methods[method])
        ? property(method, operationType(methods[method]), methods[method])
        : `${method}?: never;`,
    ),
  ]);
}

function operationType({ parameters, requestBody, responses }: Record<string, unknown>): string {
  const answers = Object.entries(isObject(responses) ? responses : {}).map(
    ([status, answer]) => `${status}: ${answerType(answer)};`,
  );
  return block([
    property('parameters', parametersType(listOf(parameters).filter(isObject))),
    isObject(requestBody)
      ? property('requestBody', contentType(requestBody), undefined, requestBody['required'] !== true)
      : 'requestBody?: never;',
    property('responses', block(answers)),
  ]);
}

function parametersType(parameters: readonly Record<string, unknown>[]): string {
  return block(
    PLACES.map(place => {
      const here = parameters.filter(parameter => parameter['in'] === place);
      if (here.length === 0) return `${place}?: never;`;
      const members = here.map(parameter =>
        property(
          String(parameter['name']),
          typeOf(parameter['schema']),
          parameter,
          parameter['required'] !== true,
        ),
      );
      return property(
        place,
        block(members),
        undefined,
        here.every(parameter => parameter['required'] !== true),
      );
    }),
  );
}

function answerType(answer: unknown): string {
  if (!isObject(answer)) throw new TypeError('an answer is an object');
  return isObject(answer['content'])
    ? `${HEADERS}${contentType(answer).slice(1)}`
    : `${HEADERS}\n  content?: never;\n}`;
}

function contentType({ content }: Record<string, unknown>): string {
  const types = Object.entries(isObject(content) ? content : {}).map(([type, media]) =>
    property(type, typeOf(isObject(media) ? media['schema'] : undefined)),
  );
  return block([property('content', block(types))]);
}

function typeOf(schema: unknown): string {
  if (!isObject(schema)) return 'unknown';
  const { $ref, anyOf, oneOf, properties } = schema;
  if (typeof $ref === 'string') return `components["schemas"]["${$ref.slice($ref.lastIndexOf('/') + 1)}"]`;
  if (Array.isArray(schema['enum'])) return union(schema['enum'].map(value => JSON.stringify(value)));
  if ('const' in schema) return JSON.stringify(schema['const']);
  const branches = [...listOf(anyOf), ...listOf(oneOf)].filter(isObject);
  // Branches of an object only say which of its keys are needed: too much for a type.
  if (branches.length > 0 && properties === undefined)
    return union(branches.map(branch => typeOf({ type: schema['type'], ...branch })));
  const types = Array.isArray(schema['type']) ? schema['type'] : [schema['type']];
  return union(types.map(type => typeNamed(type, schema)));
}

function typeNamed(type: unknown, schema: JsonSchema): string {
  switch (type) {
    case undefined:
      return 'unknown';
    case 'string':
    case 'boolean':
    case 'null':
      return type;
    case 'integer':
    case 'number':
      return 'number';
    case 'array':
      return `(${typeOf(schema['items'])})[]`;
    case 'object':
      return objectType(schema);
    default:
      throw new TypeError(`there is no TypeScript for the type ${String(type)}`);
  }
}

function objectType({ properties, required, patternProperties, additionalProperties }: JsonSchema): string {
  if (isObject(properties) && Object.keys(properties).length > 0) {
    const needed = new Set(listOf(required));
    return block(
      Object.entries(properties).map(([name, schema]) =>
        property(name, typeOf(schema), schema, !needed.has(name)),
      ),
    );
  }
  const [ofValues] = Object.values(isObject(patternProperties) ? patternProperties : {});
  return `{ [key: string]: ${typeOf(ofValues ?? additionalProperties)} }`;
}

function property(name: string, type: string, described?: unknown, optional = false): string {
  const { summary, description } = isObject(described) ? described : {};
  const said = [summary, description].find(text => typeof text === 'string');
  const comment = typeof said === 'string' ? `/** ${said.replaceAll('*/', '*\\/')} */\n` : '';
  const key = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
  return `${comment}${key}${optional ? '?' : ''}: ${type};`;
}

function block(members: readonly string[]): string {
  return `{\n${members.map(member => indented(member)).join('\n')}\n}`;
}

function indented(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

function union(types: readonly string[]): string {
  return [...new Set(types)].join(' | ') || 'never';
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
