import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface CodeBlock {
  language: string;
  code: string;
}

/** The code blocks below a heading (`## Five minutes`) of a page, in their order, up to the next heading of its level. */
export async function readCodeBlocks(page: string, heading: string): Promise<CodeBlock[]> {
  const text = await readFile(join(ROOT, page), 'utf8');
  const [, below] = text.split(`\n${heading}\n`);
  if (below === undefined) throw new Error(`${page} has no heading ${heading}`);
  const [section = ''] = below.split(new RegExp(`^${heading.slice(0, heading.indexOf(' '))} `, 'm'));
  return [...section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => ({
    language,
    code,
  }));
}
