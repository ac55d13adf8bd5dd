import type { ConsolePiece } from '../server/console.js';
import type { Run } from '../server/run.js';
import { ConsoleProbe } from './consoleProbe.js';
import type { TpsQuestion } from './tpsQuestion.js';

/**
 * The probes of all runs. They ask only while somebody listens to the agent: who comes later, after another life of
 * ours, would find answers that we don't know any more as ours.
 */
export class ConsoleProbes {
  /** Gone with the run. */
  readonly #probes = new WeakMap<Run, ConsoleProbe>();
  #listeners = 0;

  get hasListener(): boolean {
    return this.#listeners > 0;
  }

  /** The listener calls what it gets back when it leaves. */
  listen(): () => void {
    this.#listeners += 1;
    return () => {
      this.#listeners -= 1;
    };
  }

  begin(run: Run, question: TpsQuestion): ConsoleProbe {
    const probe = new ConsoleProbe(run, question);
    this.#probes.set(run, probe);
    return probe;
  }

  /** The lines that somebody else than us may have asked for. */
  async withoutAnswers(run: Run, { lines, starts }: ConsolePiece): Promise<string[]> {
    const answers = await this.#probes.get(run)?.answersAmong(starts);
    if (answers === undefined || answers.size === 0) return lines;
    return lines.filter((_line, index) => !answers.has(starts[index] ?? -1));
  }
}
