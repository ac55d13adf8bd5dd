import { titleOf, nameOf, type KillCase } from './killCases.js';
import type { Outcome } from './strike.js';
import { tableOf } from './table.js';

const HEADER = ['killed', 'at', 'of a', 'ended as', 'seconds to truth', '… to the next event'];

/** An agent does not wait for us. */
const TRIES = 3;

/** Strikes once, for all cases of a round, and answers what becomes of each, in their order. */
type CarryOut<Case, Found> = (round: readonly Case[]) => Promise<readonly Promise<Found>[]>;

/** The cases of a table: run round by round, each told by a test of its own, and printed at the end. */
export class KillTable<Found extends Outcome> {
  readonly #outcomes = new Map<string, Promise<Found>>();
  readonly #rows: string[][] = [];

  /** Each round begins when the one before it has ended, whichever way. */
  run<Case extends KillCase>(rounds: readonly (readonly Case[])[], carryOut: CarryOut<Case, Found>): void {
    let before: Promise<unknown> = Promise.resolve();
    for (const round of rounds) {
      const results = before.then(() => play(round, carryOut));
      for (const [at, what] of round.entries()) {
        const outcome = results.then(all => unwrap(all[at]));
        outcome.catch(() => undefined); // told by the case's own test
        this.#outcomes.set(titleOf(what), outcome);
      }
      before = results;
    }
  }

  /** Waits for it; from then on it is in the table. */
  async outcomeOf(what: KillCase): Promise<Found> {
    const outcome = await this.#outcomes.get(titleOf(what));
    if (!outcome) throw new Error(`${titleOf(what)} was not run`);
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

type Result<Found> = PromiseSettledResult<Found>;

/** Never rejects. A server that had got past its boundary when the kill came proves nothing: it is struck again. */
async function play<Case extends KillCase, Found extends Outcome>(
  round: readonly Case[],
  carryOut: CarryOut<Case, Found>,
  tries = TRIES,
): Promise<(Result<Found> | undefined)[]> {
  const results: (Result<Found> | undefined)[] = await carryOut(round).then(
    found => Promise.allSettled(found),
    (reason: unknown) => round.map(() => ({ status: 'rejected', reason })),
  );
  if (tries === 1) return results;
  for (const [at, what] of round.entries()) {
    const result = results[at];
    if (result?.status !== 'fulfilled' || result.value.astray === undefined) continue;
    [results[at]] = await play([what], carryOut, tries - 1);
  }
  return results;
}

function unwrap<Found>(result: Result<Found> | undefined): Found {
  if (result?.status === 'fulfilled') return result.value;
  throw result?.reason ?? new Error('nothing was found out');
}
