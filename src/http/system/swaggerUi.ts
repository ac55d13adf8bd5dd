import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

/** What the page loads, all of it from here: it must work where there is no internet. */
const ASSETS = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
} as const;
type AssetName = keyof typeof ASSETS;

export const DOC_FILES = [...Object.keys(ASSETS), 'init.js'];

/** Swagger UI sets style attributes and draws with data: images; scripts come from us alone, never inline. */
export const DOCS_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export const DOCS_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AYMC API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/init.js"></script>
</body>
</html>
`;

const INIT_SCRIPT = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#ui',
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
`;

export interface DocFile {
  content: Buffer | string;
  contentType: string;
}

/** Null for a name that is none of ours. */
export async function readDocFile(name: string): Promise<DocFile | null> {
  if (name === 'init.js') return { content: INIT_SCRIPT, contentType: 'text/javascript; charset=utf-8' };
  if (!isAsset(name)) return null;
  const path = createRequire(import.meta.url).resolve(`swagger-ui-dist/${name}`);
  return { content: await readFile(path), contentType: ASSETS[name] };
}

function isAsset(name: string): name is AssetName {
  return Object.hasOwn(ASSETS, name);
}
