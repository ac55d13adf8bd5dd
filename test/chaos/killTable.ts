import { titleOf, nameOf, type KillCase } from './killCases.js';
import type { Outcome } from './strike.js';
import { tableOf } from './table.js';

const HEADER = ['killed', 'at', 'of a', 'ended as', 'seconds to truth', '… to the next event'];

/** The cases of a table: run round by round, each told by a test of its own, and printed at the end. */
export class KillTable<Found extends Outcome> {
  readonly #outcomes = new Map<string, Promise<Found>>();
  readonly #rows: string[][] = [];

  /** Each round begins when the one before it has ended, whichever way. `carryOut` answers in the round's order. */
  run(
    rounds: readonly (readonly KillCase[])[],
    carryOut: (round: readonly KillCase[]) => Promise<readonly Promise<Found>[]>,
  ): void {
    let before: Promise<unknown> = Promise.resolve();
    for (const round of rounds) {
      const struck = before.then(() => carryOut(round));
      const outcomes = round.map(async (what, at) => {
        const outcome = (await struck)[at];
        if (!outcome) throw new Error(`nothing was found out about ${titleOf(what)}`);
        return outcome;
      });
      round.forEach((what, at) => this.#outcomes.set(titleOf(what), outcomes[at] ?? never(what)));
      before = Promise.allSettled(outcomes); // what rejects is told by the case's own test
    }
  }

  /** Waits for it; from then on it is in the table. */
  async outcomeOf(what: KillCase): Promise<Found> {
    const outcome = await (this.#outcomes.get(titleOf(what)) ?? never(what));
    const { operation, secondsToTruth, secondsToNextEvent } = outcome;
    this.#rows.push([
      what.part,
      nameOf(what.boundary),
      what.verb,
      operation.state,
      secondsToTruth.toFixed(1),
      secondsToNextEvent?.toFixed(1) ?? '–',
    ]);
    return outcome;
  }

  /** Resolves when nothing runs any more. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#outcomes.values());
  }

  print(): void {
    process.stdout.write(`\n${tableOf(HEADER, this.#rows)}\n`);
  }
}

async function never(what: KillCase): Promise<never> {
  throw new Error(`${titleOf(what)} was not run`);
}
