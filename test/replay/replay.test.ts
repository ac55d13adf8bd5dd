import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { bundleWorkflowCode, DefaultLogger, Worker } from '@temporalio/worker';
import { expect } from 'chai';
import '../harness/quietTemporal.js';
import * as workflows from '../../workflows/index.js';

const histories = fileURLToPath(new URL('histories/', import.meta.url));
const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
/** Twice today's. A bundle that grows past it has swallowed a library. */
const MAX_BUNDLE_BYTES = 3 * 1024 * 1024;

describe('workflow code and the operations in flight', function () {
  this.timeout(120_000);
  let code: string;
  before(async () => {
    ({ code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') }));
  });

  it('stays small', () => {
    expect(Buffer.byteLength(code)).to.be.below(MAX_BUNDLE_BYTES);
  });

  it('has a recorded history of every workflow', async () => {
    const files = await readdir(histories, { recursive: true });
    const recorded = new Set(files.map(file => /([A-Za-z]+)-[a-z]+\.json$/.exec(file)?.[1]));
    for (const name of Object.keys(workflows)) expect(recorded, name).to.include(name);
  });

  it('replays every recorded history', async () => {
    const files = (await readdir(histories, { recursive: true })).filter(file => file.endsWith('.json'));
    const recorded = async function* () {
      for (const file of files) {
        const history = historyFromJSON(JSON.parse(await readFile(`${histories}${file}`, 'utf8')));
        yield { workflowId: file, history };
      }
    };
    const failures: string[] = [];
    let replayed = 0;
    for await (const { workflowId, error } of Worker.runReplayHistories(
      { workflowBundle: { code } },
      recorded(),
    )) {
      replayed += 1;
      if (error) failures.push(`${workflowId}: ${error.message}`);
    }
    expect(failures).to.deep.equal([]);
    expect(replayed).to.equal(files.length);
  });
});
