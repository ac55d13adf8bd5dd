import { readFile } from 'node:fs/promises';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { expect } from 'chai';
import { ERRORS } from '#src/domain/errors.js';
import { createRouter } from '#src/http/app.js';
import { buildOpenApi } from '#src/http/openApi.js';
import { ROUTES } from '#src/http/routes.js';
import { errorTable, openApiFile } from '#processes/gen/apiDocs.js';
import { apiTypes } from '#processes/gen/apiTypes.js';

const document = buildOpenApi(ROUTES);
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation: asRecord(operation) })),
);

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error('not an object');
  return { ...value };
}

describe('the routes and their description', () => {
  it('what the router mounts is what is documented, each with a rule, a summary and a name of its own', () => {
    const router = createRouter(ROUTES, () => Promise.resolve());
    const mounted = router.stack.flatMap(layer =>
      layer.methods
        .filter(method => method !== 'HEAD')
        .map(method => `${method} ${String(layer.path).replace(/:(\w+)/g, '{$1}')}`),
    );
    const documented = operations.map(({ path, method }) => `${method.toUpperCase()} ${path}`);
    expect(documented).to.have.members(mounted);
    for (const { operation, path } of operations) {
      expect(operation['x-rule'], path).to.be.a('string').and.not.equal('');
      expect(operation['summary'], path).to.be.a('string').and.not.equal('');
    }
    const names = operations.map(({ operation }) => operation['operationId']);
    expect(new Set(names).size).to.equal(names.length);
  });

  it('a fixed path stands before the pattern that it fits', () => {
    for (const [i, { method, path }] of ROUTES.entries()) {
      const pattern = new RegExp(`^${path.replace(/:\w+/g, '[^/]+')}$`);
      const later = ROUTES.slice(i + 1).filter(route => route.method === method && pattern.test(route.path));
      expect(
        later.map(route => route.path),
        path,
      ).to.deep.equal([]);
    }
  });

  it('no query key may come twice, nor one that is not described', () => {
    for (const { path, query } of ROUTES) {
      const described: unknown = query?.describe()['keys'];
      for (const key of Object.keys(described === undefined ? {} : asRecord(described))) {
        const { error } = query?.validate({ [key]: ['1', '2'] }, { abortEarly: false }) ?? {};
        expect(
          error?.details.map(detail => detail.path[0]),
          `${path}?${key}`,
        ).to.include(key);
      }
      if (query) expect(query.validate({ colour: 'red' }).error, path).to.be.an('error');
    }
  });

  it('every path parameter is described, and no other', () => {
    for (const { path, operation } of operations) {
      const parameters = Array.isArray(operation['parameters']) ? operation['parameters'].map(asRecord) : [];
      const described = parameters.filter(parameter => parameter['in'] === 'path').map(({ name }) => name);
      expect(described, path).to.have.members([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
    }
  });

  it('every schema is valid JSON Schema 2020-12, and its examples fit it', function () {
    this.timeout(20_000);
    const ajv = new Ajv2020({ strict: true, allErrors: true, strictTypes: false, strictRequired: false });
    addFormats.default(ajv);
    ajv.addKeyword('components');
    ajv.addSchema({ $id: 'api', components: document.components });
    const anchored: unknown = JSON.parse(
      JSON.stringify(document).replaceAll('"#/components/', '"api#/components/'),
    );
    const seen = new Set<string>();
    visitSchemas(anchored, (schema, where, holder) => {
      if ('example' in holder) {
        const validate = ajv.compile(schema);
        expect(validate(holder['example']), `${where}: ${JSON.stringify(holder['example'])}`).to.equal(true);
      }
      const text = JSON.stringify(schema);
      if (seen.has(text)) return;
      seen.add(text);
      const validate = ajv.compile(schema);
      const examples: unknown[] = Array.isArray(schema['examples']) ? schema['examples'] : [];
      for (const example of examples)
        expect(validate(example), `${where}: ${JSON.stringify(example)}`).to.equal(true);
    });
    expect(seen.size).to.be.at.least(60);
  });

  it('every answer that is JSON has a schema, every refusal is a problem, and 401 is there where a token is needed', () => {
    for (const { path, method, operation } of operations) {
      const responses = asRecord(operation['responses']);
      const needsToken = operation['x-rule'] !== 'anyone';
      expect('401' in responses || !needsToken, `${method} ${path}`).to.equal(true);
      for (const [status, response] of Object.entries(responses)) {
        const { content } = asRecord(response);
        if (['204', '302', '304'].includes(status)) continue;
        const types = Object.keys(asRecord(content));
        if (Number(status) >= 400 && status !== '503')
          expect(types, `${method} ${path} ${status}`).to.deep.equal(['application/problem+json']);
        for (const type of types) expect(asRecord(asRecord(content)[type]), path).to.have.property('schema');
      }
    }
  });

  it('every JSON body, asked or answered, comes with an example, and every route with refusals that it may give', () => {
    for (const { path, method, operation } of operations) {
      const where = `${method} ${path}`;
      const body = operation['requestBody'];
      const answers = Object.entries(asRecord(operation['responses']));
      const good = answers.filter(([status]) => Number(status) < 300).map(([, answer]) => answer);
      for (const { content } of [body, ...good].filter(part => part !== undefined).map(asRecord)) {
        const json = content === undefined ? undefined : asRecord(content)['application/json'];
        if (json !== undefined && operation['operationId'] !== 'readOpenApi')
          expect(asRecord(json), where).to.have.property('example').that.is.not.equal(undefined);
      }
      expect(errorCodesOf(operation), where).to.include('internal');
      for (const code of errorCodesOf(operation)) expect(ERRORS, where).to.have.property(code);
    }
  });

  it('the document is OpenAPI 3.1 for a validator of others', async () => {
    const validator = new Validator();
    const result = await validator.validate(asRecord(JSON.parse(openApiFile())));
    expect(result.errors ?? []).to.deep.equal([]);
    expect([result.valid, validator.version]).to.deep.equal([true, '3.1']);
  });

  it('docs, table and routes know the same error codes', () => {
    const table = errorTable();
    for (const code of Object.keys(ERRORS)) expect(table).to.include(`| \`${code}\` |`);
    const inTable = [...table.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, code]) => code);
    expect(inTable).to.have.members(Object.keys(ERRORS));
    const problem = asRecord(asRecord(document.components.schemas['Problem'])['properties']);
    expect(asRecord(problem['code'])['enum']).to.deep.equal(Object.keys(ERRORS));
  });

  it('the committed documents are what the code says', async () => {
    expect(await readFile('docs/generated/openapi.json', 'utf8')).to.equal(openApiFile());
    expect(await readFile('docs/generated/errors.md', 'utf8')).to.equal(errorTable());
    expect(await readFile('docs/generated/api.d.ts', 'utf8')).to.equal(apiTypes(document));
  });
});

/** Those that the examples of its refusals are named after. */
function errorCodesOf(operation: Record<string, unknown>): string[] {
  return Object.values(asRecord(operation['responses'])).flatMap(answer => {
    const problem = asRecord(asRecord(answer)['content'] ?? {})['application/problem+json'];
    return problem === undefined ? [] : Object.keys(asRecord(asRecord(problem)['examples']));
  });
}

/** Every schema of the document: those of components, bodies, parameters and answers. */
function visitSchemas(
  node: unknown,
  visit: (schema: Record<string, unknown>, where: string, holder: Record<string, unknown>) => void,
  where = '#',
): void {
  if (typeof node !== 'object' || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === 'schema') visit(asRecord(value), `${where}/${key}`, asRecord(node));
    else if (key === 'schemas')
      for (const [name, schema] of Object.entries(asRecord(value))) visit(asRecord(schema), name, {});
    else visitSchemas(value, visit, `${where}/${key}`);
  }
}
