import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What to run for one of our own processes. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

export interface Programs {
  readonly migrate: Program;
  readonly seed: Program;
  /** api and worker in one process. */
  readonly app: Program;
  readonly agent: Program;
  /** Prebuilt for the worker; undefined when running from sources. */
  readonly workflowBundle: string | undefined;
}

/** Compiled code runs compiled code, and sources run sources. */
const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

export function ourPrograms(): Programs {
  const bundle = fileURLToPath(new URL('../../workflow-bundle.js', import.meta.url));
  return {
    migrate: program('../migrate', 'up'),
    seed: program('../seed'),
    app: program('../app'),
    agent: thrifty(program('../../agent/main')),
    workflowBundle: existsSync(bundle) ? bundle : undefined,
  };
}

/** An agent lives beside what it serves: a smaller young generation saves a quarter of its memory. */
function thrifty({ command, args }: Program): Program {
  return { command, args: ['--max-semi-space-size=4', ...args] };
}

function program(module: string, ...args: readonly string[]): Program {
  const file = fileURLToPath(new URL(`${module}.${EXTENSION}`, import.meta.url));
  return { command: process.execPath, args: [...process.execArgv, file, ...args] };
}
