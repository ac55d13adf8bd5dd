import { expect } from 'chai';
import { nameOf, roundsOf, type PartName } from './killCases.js';
import { KillTable } from './killTable.js';
import { casesOf, complaintsOf, type ProvisionOutcome } from './provisionCases.js';
import { carryOut, openLane } from './provisionLane.js';
import { withLogs } from './strike.js';

/** Most of a case is waiting for time-outs, so two clusters go through theirs at the same time. */
const LANES: PartName[][] = [
  ['worker', 'postgres'],
  ['agent', 'api', 'temporal'],
];

describe('kill −9 at every step boundary of a provision', function () {
  this.timeout(5 * 60_000);
  const opened: { close(): Promise<void> }[] = [];
  const table = new KillTable<ProvisionOutcome>();

  before(async () => {
    await Promise.all(
      LANES.map(async parts => {
        const lane = await openLane(thing => opened.push(thing));
        const rounds = parts.flatMap(part => roundsOf(casesOf(part)));
        table.run(rounds, round => withLogs(lane.cluster, carryOut(lane, round)));
      }),
    );
  });
  after(async () => {
    await table.ended();
    for (const thing of opened.toReversed()) await thing.close();
    table.print();
  });

  for (const part of LANES.flat()) {
    describe(`of the ${part} installs what was asked for, once, and nothing is fetched twice`, () => {
      for (const what of casesOf(part)) {
        it(`at "${nameOf(what.boundary)}" of ${what.artifact === 'forge' ? 'a Forge' : 'a vanilla server'}`, async () => {
          expect(complaintsOf(what, await table.outcomeOf(what))).to.deep.equal([]);
        });
      }
    });
  }
});
