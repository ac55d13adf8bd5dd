import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { CALLERS, startFuzzedApi } from './fuzzedApi.js';
import { findSchemathesis } from './schemathesis.js';

/** `npm run fuzz [-- --examples=100 --seed=1]`: every caller, at length. Ends with 1 when an answer was no good. */
const { values } = parseArgs({ options: { examples: { type: 'string' }, seed: { type: 'string' } } });
const examples = Number(values.examples ?? 100);
const seed = Number(values.seed ?? randomInt(2 ** 31));
const TIMEOUT_MS = 60 * 60_000;

const folder = await findSchemathesis();
const fuzzed = await startFuzzedApi();
try {
  for (const caller of CALLERS) {
    console.log(`as ${caller}, ${examples} examples an operation, seed ${seed} …`);
    const effort = {
      folder,
      phases: ['examples', 'coverage', 'fuzzing'],
      examples,
      seed,
      timeoutMs: TIMEOUT_MS,
    } as const;
    try {
      console.log(await fuzzed.fuzz(caller, effort));
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      process.exitCode = 1;
    }
  }
} finally {
  await fuzzed.close();
}
