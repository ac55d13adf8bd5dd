import { setMaxListeners } from 'node:events';
import { AppError } from '#src/domain/errors.js';

/** What may end a call from our side: its deadline, the caller's signal, the gateway's end. */
export class CallScope {
  /** Milliseconds since the epoch, or Infinity: what grpc-js takes. */
  readonly deadline: number;
  /** Why we ended it ourselves; outranks whatever error the cancelled call then reports. */
  aborted: AppError | undefined;
  #cancel: (() => void) | undefined;
  readonly #unlisten: (() => void) | undefined;

  /** Throws `cancelled` when the signal has fired already. `onEnd` is called once, by `end()`. */
  constructor(
    deadlineMs: number,
    signal: AbortSignal | undefined,
    private readonly onEnd: () => void,
  ) {
    this.deadline = Date.now() + deadlineMs;
    if (signal === undefined) return;
    if (signal.aborted) throw cancelled(signal);
    const listener = () => this.abort(cancelled(signal));
    // A sweep shares one signal between a hundred pings: no leak, and no warning of one.
    setMaxListeners(0, signal);
    signal.addEventListener('abort', listener, { once: true });
    this.#unlisten = () => signal.removeEventListener('abort', listener);
  }

  abort(reason: AppError): void {
    this.aborted ??= reason;
    this.#cancel?.();
  }

  /** `cancel` runs when the scope is aborted, at once if it was. One at a time: the latest replaces those before. */
  cancelBy(cancel: () => void): void {
    this.#cancel = cancel;
    if (this.aborted) cancel();
  }

  /**
   * Waits for something that knows neither our deadline nor our signal and may go on without us; by default until the
   * deadline. What was to be cancelled before is again afterwards.
   */
  async whileOpen<T>(work: Promise<T>, limitMs = this.deadline - Date.now()): Promise<T> {
    const cancelBefore = this.#cancel;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        work.then(resolve, reject);
        this.cancelBy(() => reject(this.aborted));
        if (Number.isFinite(limitMs)) {
          timer = setTimeout(() => reject(new AppError('agent-timeout')), limitMs);
        }
      });
    } finally {
      clearTimeout(timer);
      this.#cancel = cancelBefore;
    }
  }

  end(): void {
    this.#unlisten?.();
    this.#cancel = undefined;
    this.onEnd();
  }
}

function cancelled(signal: AbortSignal): AppError {
  return new AppError('cancelled', { detail: 'The call to the agent was aborted', cause: signal.reason });
}
