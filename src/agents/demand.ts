import {
  InterceptingCall,
  ListenerBuilder,
  RequesterBuilder,
  type ClientReadableStream,
  type Interceptor,
} from '@grpc/grpc-js';

/**
 * Lets one message through for each that is asked for. By itself grpc-js reads 16 ahead, and what is in there is no
 * longer in its sender's order of turns: half a second of a console's flood stood before every other server's lines.
 */
export class Demand {
  #wanted = 0;
  #held: (() => void) | undefined;

  /** For the call's options. */
  readonly interceptor: Interceptor = (options, nextCall) =>
    new InterceptingCall(
      nextCall(options),
      new RequesterBuilder()
        .withStart((metadata, _listener, next) => {
          const listener = new ListenerBuilder()
            .withOnReceiveMessage((message: unknown, pass: (message: unknown) => void) =>
              this.#offer(() => pass(message)),
            )
            .build();
          next(metadata, listener);
        })
        .build(),
    );

  /** The messages of the call that carries the interceptor. */
  async *messagesOf<Response>(call: ClientReadableStream<Response>): AsyncGenerator<Response, void> {
    const incoming: AsyncIterable<Response> = call;
    const messages = incoming[Symbol.asyncIterator]();
    for (;;) {
      this.#ask();
      const next = await messages.next();
      if (next.done) return;
      yield next.value;
    }
  }

  /** At most one is offered at a time: grpc-js reads on when it has passed. */
  #offer(pass: () => void): void {
    if (this.#wanted === 0) {
      this.#held = pass;
      return;
    }
    this.#wanted -= 1;
    pass();
  }

  #ask(): void {
    this.#wanted += 1;
    const held = this.#held;
    this.#held = undefined;
    if (held) this.#offer(held);
  }
}
