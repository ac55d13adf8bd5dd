/** One thing that is wrong, in a sentence for the operator. */
export interface Problem {
  /** The settings concerned; a rule that needs one of these is not asked, as its answer would mislead. */
  readonly names: readonly string[];
  readonly message: string;
}

/** The settings can't be used. Carries every problem at once, so that one restart mends them all. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly Problem[]) {
    const messages = problems.map(problem => problem.message);
    const title = messages.length === 1 ? 'A setting is wrong' : `${messages.length} settings are wrong`;
    super(`${title}:\n${messages.map(message => `  - ${message}`).join('\n')}`);
    this.problems = messages;
  }
}
