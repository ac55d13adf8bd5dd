import type { Message } from '#src/contracts/events.js';
import type { AppError } from '#src/domain/errors.js';
import type { Actor } from '#src/domain/permissions.js';

/** Who is behind a connection, and until when. */
export interface Principal {
  user: Actor;
  /** Null for a credential without an end. */
  expiresAt: Date | null;
}

/**
 * Looks a token up as it is now. Rejects with an AppError of status 401 once it no longer stands: expired, its session
 * ended, the account disabled.
 */
export type Authenticate = (token: string) => Promise<Principal>;

/** One connection as its transport offers it to the hub. No method throws or waits, but `verify`. */
export interface Client {
  readonly id: string;
  send(message: Message): void;
  /** How many messages the transport still holds because the network is slower than we are. */
  waiting(): number;
  /**
   * Ends the connection, what was sent before included. A retryable reason (`shutting-down`) invites the client to
   * connect again by itself; any other needs a person or a new token.
   */
  close(reason: AppError): void;
  /** The principal as it is now: `Authenticate` with this connection's token. */
  verify(): Promise<Principal>;
}
