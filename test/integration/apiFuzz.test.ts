import {
  CALLERS,
  startFuzzedApi,
  type Caller,
  type FuzzedApi,
  type FuzzEffort,
} from '#test/fuzz/fuzzedApi.js';
import { findSchemathesis } from '#test/fuzz/schemathesis.js';

const SEED = 20_261_124;
/**
 * Making requests up takes seconds a caller, and trying every edge of every schema minutes: here it is done for those
 * who are let in, and for the others the door is tried. `npm run fuzz` does all of it for everyone.
 */
const PHASES: Record<Caller, FuzzEffort['phases']> = {
  admin: ['examples', 'fuzzing'],
  user: ['examples', 'fuzzing'],
  viewer: ['examples'],
  nobody: ['examples'],
  agent: ['examples'],
};

/** A small run of `npm run fuzz`: the same requests every time, made up from the OpenAPI document itself. */
describe('requests that were made up from the description', function () {
  this.timeout(120_000);
  let folder: string;
  let fuzzed: FuzzedApi;

  before(async function () {
    this.timeout(360_000);
    try {
      folder = await findSchemathesis();
    } catch (error) {
      process.stderr.write(
        `skipped: Schemathesis needs python3, pip and a package index (${String(error)})\n`,
      );
      this.skip();
    }
    fuzzed = await startFuzzedApi();
  });
  after(() => fuzzed?.close());

  for (const caller of CALLERS) {
    it(`get documented answers and no 500 as ${caller}`, async () => {
      await fuzzed.fuzz(caller, {
        folder,
        phases: PHASES[caller],
        examples: 3,
        seed: SEED,
        timeoutMs: 110_000,
      });
    });
  }
});
