import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What stands ready before a suite's first test, shared by the whole run. */
export type Need = 'postgres' | 'temporal' | 'minecraft';

export interface Suite {
  /** Its folder below test/. */
  readonly name: string;
  readonly needs: readonly Need[];
  /** Alone: it kills processes and counts seconds, so nothing else may take the machine meanwhile. */
  readonly alone: boolean;
  /** After so many minutes it hangs for certain, and is ended. */
  readonly limitMinutes: number;
}

/** In the order of their starts: of those that share the machine the longest first. */
export const SUITES: readonly Suite[] = [
  { name: 'integration', needs: ['postgres', 'temporal', 'minecraft'], alone: false, limitMinutes: 12 },
  { name: 'unit', needs: [], alone: false, limitMinutes: 6 },
  { name: 'contract', needs: [], alone: false, limitMinutes: 6 },
  { name: 'workflows', needs: ['postgres', 'temporal'], alone: false, limitMinutes: 8 },
  { name: 'replay', needs: [], alone: false, limitMinutes: 5 },
  { name: 'e2e', needs: ['postgres', 'temporal', 'minecraft'], alone: true, limitMinutes: 10 },
  { name: 'chaos', needs: ['postgres', 'temporal', 'minecraft'], alone: true, limitMinutes: 16 },
];

export interface Selection {
  readonly suite: Suite;
  /** Below the repository, sorted. */
  readonly files: readonly string[];
}

export const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * What the arguments name: suites and test files in any mixture; none of them means everything. Throws on a name that
 * stands for nothing, since a typo must not look like a green run.
 */
export function selectTests(names: readonly string[]): Selection[] {
  const everything = SUITES.map(suite => ({ suite, files: filesOf(suite) }));
  const wanted = names.map(name => relative(root, join(root, name)));
  for (const name of wanted) {
    const known = everything.some(
      ({ suite, files }) => (suite.name === name && files.length > 0) || files.includes(name),
    );
    if (!known) {
      const suites = SUITES.map(suite => suite.name).join(', ');
      throw new Error(
        `there are no tests in ${name}; name suites (${suites}) or files (test/unit/….test.ts)`,
      );
    }
  }
  return everything
    .map(({ suite, files }) => ({
      suite,
      files:
        wanted.length === 0 || wanted.includes(suite.name)
          ? files
          : files.filter(file => wanted.includes(file)),
    }))
    .filter(({ files }) => files.length > 0);
}

function filesOf({ name }: Suite): string[] {
  const folder = join(root, 'test', name);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.test.ts'))
    .map(file => join('test', name, file))
    .sort();
}
