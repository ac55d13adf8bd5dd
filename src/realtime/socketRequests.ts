import type { Socket } from 'socket.io';
import type { ClientToServerEvents } from '#src/contracts/events.js';
import { AppError, type ErrorCode } from '#src/domain/errors.js';
import type { Logger } from '#src/observability/logger.js';
import type { Connection } from './connection.js';

type Requests = {
  [E in keyof ClientToServerEvents]: (input: unknown, ack: Ack<Answer<E> | Failure>) => Promise<void>;
};
type Answer<E extends keyof ClientToServerEvents> = Parameters<
  NonNullable<Parameters<ClientToServerEvents[E]>[1]>
>[0];
type Ack<T> = (answer: T) => void;
export interface Failure {
  error: { code: ErrorCode; detail: string };
}

interface ServeDeps {
  connection: Connection;
  logger: Logger;
  /** Called right before an answer goes out: messages that are already on their way go first. */
  beforeAnswer: () => void;
}

/** What a client asks for, each answered once: with its answer, or with why there is none. */
export function serveRequests(
  socket: Pick<Socket, 'onAny'>,
  { connection, logger, beforeAnswer }: ServeDeps,
): void {
  const failure = (error: unknown): Failure => ({ error: problemOf(asAppError(error, logger)) });
  const requests: Requests = {
    subscribe: (input, ack) => connection.subscribe(input, ack).catch(error => ack(failure(error))),
    unsubscribe: async (input, ack) => ack(await connection.unsubscribe(input).catch(failure)),
    command: async (input, ack) => {
      try {
        ack({ accepted: true, ...(await connection.command(input)) });
      } catch (error) {
        ack({ accepted: false, ...failure(error) });
      }
    },
  };
  const refuse = async (detail: string, ack: Ack<Failure>) =>
    ack(await connection.refuse(detail).catch(failure));

  socket.onAny((event: string, ...args: unknown[]) => {
    const input = isAck(args[0]) ? undefined : args[0];
    const ack = args.find(isAck);
    const answer: Ack<unknown> = value => {
      beforeAnswer();
      ack?.(value);
    };
    if (!isRequest(event)) void refuse(`There is no request "${event.slice(0, 50)}"`, answer);
    else if (event === 'subscribe' && !ack) void refuse(NEEDS_ACK, ({ error }) => connection.tell(error));
    else void requests[event](input, answer);
  });
}

/** Its answer holds the backlog: without one, messages would be missing from the beginning. */
const NEEDS_ACK = 'subscribe needs an acknowledgement';
const REQUESTS: Record<keyof ClientToServerEvents, true> = {
  subscribe: true,
  unsubscribe: true,
  command: true,
};

function isRequest(event: string): event is keyof ClientToServerEvents {
  return Object.hasOwn(REQUESTS, event);
}

function isAck(value: unknown): value is Ack<unknown> {
  return typeof value === 'function';
}

export function problemOf({ code, detail }: AppError): Failure['error'] {
  return { code, detail };
}

/** Anything else that is thrown is a bug: logged here, and none of the client's business. */
export function asAppError(error: unknown, logger: Logger): AppError {
  if (error instanceof AppError) return error;
  logger.error({ err: error }, 'a socket request failed');
  return new AppError('internal', { cause: error });
}
