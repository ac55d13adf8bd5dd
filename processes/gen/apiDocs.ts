import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ERRORS } from '#src/domain/errors.js';
import { buildOpenApi } from '#src/http/openApi.js';
import { ROUTES } from '#src/http/routes.js';
import { apiTypes } from './apiTypes.js';

export function openApiFile(): string {
  return `${JSON.stringify(buildOpenApi(ROUTES), null, 2)}\n`;
}

export function errorTable(): string {
  const lines = [
    '# Errors',
    '',
    'Made by `npm run gen` from `src/domain/errors.ts`. A code is the same everywhere: in `code` of an',
    '`application/problem+json` answer, as the type of a failed Temporal activity, and as the reason of a failed gRPC call.',
    'What is marked ↻ may succeed later without anyone changing anything.',
    '',
    '| code | HTTP | gRPC | | meaning |',
    '|---|---|---|---|---|',
  ];
  for (const [code, { status, grpc, retryable, title }] of Object.entries(ERRORS).sort(([a], [b]) =>
    a < b ? -1 : 1,
  )) {
    lines.push(`| \`${code}\` | ${status} | ${grpc} | ${retryable ? '↻' : ''} | ${title} |`);
  }
  return `${lines.join('\n')}\n`;
}

/** Writes the files, or with `--check` only tells whether they are up to date. */
async function main(check: boolean): Promise<void> {
  const folder = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'docs', 'generated');
  if (!check) await mkdir(folder, { recursive: true });
  for (const [name, wanted] of [
    ['openapi.json', openApiFile()],
    ['errors.md', errorTable()],
    ['api.d.ts', apiTypes(buildOpenApi(ROUTES))],
  ] as const) {
    const path = join(folder, name);
    if (!check) await writeFile(path, wanted);
    else if ((await readFile(path, 'utf8').catch(() => '')) !== wanted) {
      console.error(`docs/generated/${name} is out of date; run: npm run gen`);
      process.exitCode = 1;
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.includes('--check'));
