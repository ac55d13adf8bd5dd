import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Mocha from 'mocha';
import { exitEvenWhenHeld, forbidOpenHandles } from '../harness/leaks.js';
import { reporterFor } from './reporter.js';
import { root } from './suites.js';

/** One suite in a process of its own: `suiteProcess --suite=unit --results=FILE [--grep=TEXT] files…`. */
const { values, positionals } = parseArgs({
  options: { suite: { type: 'string' }, results: { type: 'string' }, grep: { type: 'string' } },
  allowPositionals: true,
});
const { suite, results, grep } = values;
if (suite === undefined || results === undefined) throw new Error('give --suite and --results');

/** For a test that says nothing else. */
const TIMEOUT_MS = 10_000;

const mocha = new Mocha({
  timeout: TIMEOUT_MS,
  forbidOnly: process.env['CI'] !== undefined,
  reporter: reporterFor(suite, results),
  ...(grep === undefined ? {} : { grep }),
});
for (const file of positionals) await load(join(root, file));
forbidOpenHandles(mocha.suite.suites);
mocha.run(failures => exitEvenWhenHeld(failures === 0 ? 0 : 1));

/** A file that can't be loaded is a failed test, and the others run all the same. */
async function load(file: string): Promise<void> {
  mocha.files = [file];
  try {
    await mocha.loadFilesAsync();
  } catch (error) {
    const broken = Mocha.Suite.create(mocha.suite, file);
    broken.file = file;
    broken.addTest(
      new Mocha.Test('can be loaded', () => {
        throw error;
      }),
    );
  }
}
