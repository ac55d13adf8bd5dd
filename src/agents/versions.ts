import type { HelloResponse } from '#proto/gen/agent.js';
import { AppError } from '#src/domain/errors.js';
import type { AgentAddress, CallOptions } from './gateway.js';

type Hello = (agent: AgentAddress, options: CallOptions) => Promise<HelloResponse>;

const REMEMBERED_MAX = 4096;

/**
 * Which agents are of version 1: those that know no Hello. Remembered until it is said otherwise; a Hello that is
 * answered (every link begins with one) says so of one that was upgraded.
 */
export class Versions {
  /** Oldest first. */
  readonly #old = new Set<string>();

  constructor(private readonly askHello: Hello) {}

  isKnownOld(agentId: string): boolean {
    return this.#old.has(agentId);
  }

  /** Undefined from an agent of version 1. */
  async hello(agent: AgentAddress, options: CallOptions): Promise<HelloResponse | undefined> {
    try {
      const answer = await this.askHello(agent, options);
      this.#old.delete(agent.id);
      return answer;
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      this.#old.add(agent.id);
      const [oldest] = this.#old;
      if (this.#old.size > REMEMBERED_MAX && oldest !== undefined) this.#old.delete(oldest);
      return undefined;
    }
  }

  forget(agentId: string): void {
    this.#old.delete(agentId);
  }

  /** Speaks as of version 2, and as of version 1 where the agent turns out to be that. */
  async either<T>(
    agent: AgentAddress,
    options: CallOptions,
    { modern, old }: { modern: () => Promise<T>; old: () => Promise<T> },
  ): Promise<T> {
    if (this.isKnownOld(agent.id)) return old();
    try {
      return await modern();
    } catch (error) {
      if (!(await this.#isOld(agent, options, error))) throw error;
      return old();
    }
  }

  /** As `either`; which of them it is shows in the first message. */
  eitherStream<T>(
    agent: AgentAddress,
    options: CallOptions,
    { modern, old }: { modern: () => AsyncIterable<T>; old: () => AsyncIterable<T> },
  ): AsyncIterable<T> {
    return {
      [Symbol.asyncIterator]: () => {
        let isSettled = this.isKnownOld(agent.id);
        let current = (isSettled ? old() : modern())[Symbol.asyncIterator]();
        return {
          next: async () => {
            try {
              return await current.next();
            } catch (error) {
              if (isSettled || !(await this.#isOld(agent, options, error))) throw error;
              current = old()[Symbol.asyncIterator]();
              return await current.next();
            } finally {
              isSettled = true;
            }
          },
          return: async () => (await current.return?.()) ?? { done: true, value: undefined },
        };
      },
    };
  }

  async #isOld(agent: AgentAddress, options: CallOptions, error: unknown): Promise<boolean> {
    return isUnsupported(error) && (await this.hello(agent, options)) === undefined;
  }
}

function isUnsupported(error: unknown): boolean {
  return error instanceof AppError && error.code === 'agent-unsupported';
}
