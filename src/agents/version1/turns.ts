import { AppError } from '#src/domain/errors.js';
import type { Calls, CallSpec } from '../calls.js';
import type { CallOptions } from '../gateway.js';

/** Calls of one agent that may wait for their turn. */
const WAITING_MAX = 200;

interface Waiting {
  exclusive: boolean;
  begin: () => void;
}

/** Calls in flight and those that wait, of one agent. */
interface Line {
  shared: number;
  exclusive: boolean;
  waiting: Waiting[];
}

interface TurnOptions extends Pick<CallOptions, 'signal'> {
  deadlineMs: number;
}

/**
 * While an agent of version 1 stops a server it answers nothing else. So a stop has the agent for itself: it begins when
 * the calls before it have been answered, and those after it are not even sent before it has ended. First come, first served.
 */
export class Turns {
  /** Lines leave when nobody is in them. */
  readonly #lines = new Map<string, Line>();

  /** A call of ours keeps the agent from answering anything else. */
  isBlocked(agentId: string): boolean {
    return this.#lines.get(agentId)?.exclusive ?? false;
  }

  shared<T>(agentId: string, options: TurnOptions, work: (leftMs: number) => Promise<T>): Promise<T> {
    return this.#take(agentId, false, options, work);
  }

  exclusive<T>(agentId: string, options: TurnOptions, work: () => Promise<T>): Promise<T> {
    return this.#take(agentId, true, options, work);
  }

  async #take<T>(
    agentId: string,
    exclusive: boolean,
    options: TurnOptions,
    work: (leftMs: number) => Promise<T>,
  ): Promise<T> {
    const begunMs = performance.now();
    const line = this.#lineOf(agentId);
    await this.#wait(agentId, line, exclusive, options);
    try {
      return await work(Math.max(1, options.deadlineMs - (performance.now() - begunMs)));
    } finally {
      if (exclusive) line.exclusive = false;
      else line.shared -= 1;
      this.#advance(agentId, line);
    }
  }

  async #wait(agentId: string, line: Line, exclusive: boolean, options: TurnOptions): Promise<void> {
    if (line.waiting.length >= WAITING_MAX) {
      this.#advance(agentId, line);
      throw new AppError('agent-timeout', { detail: 'Too many calls wait for the agent', retryAfterS: 5 });
    }
    const { signal } = options;
    await new Promise<void>((resolve, reject) => {
      const leave = (error: AppError) => {
        clean();
        line.waiting = line.waiting.filter(each => each !== place);
        this.#advance(agentId, line);
        reject(error);
      };
      const onAbort = () => leave(new AppError('cancelled', { detail: 'The call to the agent was aborted' }));
      const timer = Number.isFinite(options.deadlineMs)
        ? setTimeout(() => leave(new AppError('agent-timeout', { detail: BLOCKED })), options.deadlineMs)
        : undefined;
      const clean = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      const begin = () => {
        clean();
        resolve();
      };
      const place: Waiting = { exclusive, begin };
      line.waiting.push(place);
      if (signal?.aborted) onAbort();
      else {
        signal?.addEventListener('abort', onAbort, { once: true });
        this.#advance(agentId, line);
      }
    });
  }

  #lineOf(agentId: string): Line {
    let line = this.#lines.get(agentId);
    if (!line) {
      line = { shared: 0, exclusive: false, waiting: [] };
      this.#lines.set(agentId, line);
    }
    return line;
  }

  #advance(agentId: string, line: Line): void {
    for (let next = line.waiting[0]; next && !line.exclusive; next = line.waiting[0]) {
      if (next.exclusive && line.shared > 0) return;
      line.waiting.shift();
      if (next.exclusive) line.exclusive = true;
      else line.shared += 1;
      next.begin();
    }
    if (!line.exclusive && line.shared === 0 && line.waiting.length === 0) this.#lines.delete(agentId);
  }
}

const BLOCKED = 'The agent is of version 1 and stops a server: it answers nothing else meanwhile';

/** The same calls, each unary one in its turn. Streams wait for nobody: they are open for long. */
export function inTurn(calls: Calls, turns: Turns, defaultDeadlineMs: number): Calls {
  return {
    ...calls,
    unary<Request, Response>(spec: CallSpec<Request, Response>): Promise<Response> {
      const { deadlineMs = defaultDeadlineMs } = spec.options;
      return turns.shared(spec.agent.id, { ...spec.options, deadlineMs }, leftMs =>
        calls.unary({ ...spec, options: { ...spec.options, deadlineMs: leftMs } }),
      );
    },
  };
}
