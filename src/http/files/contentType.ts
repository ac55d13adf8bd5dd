/** What players' files usually are. Everything else is bytes; and every one is sent as an attachment. */
const TYPES: Readonly<Record<string, string>> = {
  cfg: 'text/plain; charset=utf-8',
  conf: 'text/plain; charset=utf-8',
  csv: 'text/csv; charset=utf-8',
  gz: 'application/gzip',
  jar: 'application/java-archive',
  jpg: 'image/jpeg',
  json: 'application/json',
  json5: 'text/plain; charset=utf-8',
  log: 'text/plain; charset=utf-8',
  mcmeta: 'application/json',
  md: 'text/markdown; charset=utf-8',
  png: 'image/png',
  properties: 'text/plain; charset=utf-8',
  sh: 'text/plain; charset=utf-8',
  toml: 'application/toml',
  txt: 'text/plain; charset=utf-8',
  yaml: 'application/yaml',
  yml: 'application/yaml',
  zip: 'application/zip',
};

export function contentTypeOf(fileName: string): string {
  const extension = /\.([a-z0-9]+)$/i.exec(fileName)?.[1]?.toLowerCase() ?? '';
  return Object.hasOwn(TYPES, extension) ? (TYPES[extension] ?? BYTES) : BYTES;
}

const BYTES = 'application/octet-stream';

/** RFC 6266, with the name in both spellings: ASCII for old clients, RFC 8187 for all others. */
export function attachment(fileName: string): string {
  const ascii = fileName.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(fileName).replace(
    /['()*]/g,
    char => `%${char.charCodeAt(0).toString(16)}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
