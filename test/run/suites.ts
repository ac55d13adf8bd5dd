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
  /** Whether what it covers counts. What is killed would leave nothing, and what is started instead is slow when measured. */
  readonly measured: boolean;
  /** Into so many processes its files are dealt out. Most of them wait more than they work. */
  readonly shares: number;
  /** After so many minutes a process hangs for certain, and is ended. */
  readonly limitMinutes: number;
}

const ENGINES: readonly Need[] = ['postgres', 'temporal'];
const EVERYTHING: readonly Need[] = [...ENGINES, 'minecraft'];

/** In the order of their starts: of those that share the machine the longest first. */
export const SUITES: readonly Suite[] = [
  { name: 'integration', needs: EVERYTHING, alone: false, measured: true, shares: 3, limitMinutes: 12 },
  { name: 'workflows', needs: ENGINES, alone: false, measured: true, shares: 1, limitMinutes: 8 },
  { name: 'unit', needs: [], alone: false, measured: true, shares: 1, limitMinutes: 6 },
  { name: 'contract', needs: [], alone: false, measured: true, shares: 1, limitMinutes: 6 },
  { name: 'replay', needs: [], alone: false, measured: true, shares: 1, limitMinutes: 5 },
  { name: 'e2e', needs: EVERYTHING, alone: true, measured: true, shares: 1, limitMinutes: 10 },
  { name: 'chaos', needs: EVERYTHING, alone: true, measured: false, shares: 1, limitMinutes: 16 },
];

/** What one process runs. */
export interface Share {
  readonly suite: Suite;
  /** The suite's, numbered where it has several shares. */
  readonly name: string;
  /** Below the repository. */
  readonly files: readonly string[];
}

export const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * What the arguments name: suites and test files in any mixture; none of them means everything. Throws on a name that
 * stands for nothing, since a typo must not look like a green run.
 */
export function selectTests(names: readonly string[]): Share[] {
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
  const isWanted = (name: string): boolean => wanted.length === 0 || wanted.includes(name);
  return everything.flatMap(({ suite, files }) =>
    deal(suite, isWanted(suite.name) ? files : files.filter(isWanted)),
  );
}

function deal(suite: Suite, files: readonly string[]): Share[] {
  const shares = Math.min(suite.shares, files.length);
  return Array.from({ length: shares }, (_, share) => ({
    suite,
    name: shares === 1 ? suite.name : `${suite.name}-${share + 1}`,
    files: files.filter((_file, index) => index % shares === share),
  }));
}

function filesOf({ name }: Suite): string[] {
  const folder = join(root, 'test', name);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.test.ts'))
    .map(file => join('test', name, file))
    .sort();
}
