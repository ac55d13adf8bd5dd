/**
 * Pokes between processes. A poke says where to look, never what happened: whoever gets one reads Postgres. So a lost
 * poke costs a second (the poll), never an event.
 */
export interface BusTopics {
  /** Something was appended to the events of this operation. */
  'operation-events': { operation_id: string; server_id: string | null };
  /** Rows wait in the outbox. */
  dispatch: Record<string, never>;
  /** Lines of one server were stored; `head` is the newest one's place. */
  console: { server_id: string; head: number };
  /** An agent's row has changed. `agent_id` is the row's id. */
  'agent-status': { agent_id: string };
  /** A user's sessions, role, account or memberships have changed: look again at what they may do. */
  'access-changed': { user_id: string };
  /** The user has been told something. */
  notifications: { user_id: string };
}

export const BUS_TOPICS = [
  'operation-events',
  'dispatch',
  'console',
  'agent-status',
  'access-changed',
  'notifications',
] as const satisfies (keyof BusTopics)[];
export type BusTopic = (typeof BUS_TOPICS)[number];

export interface Bus {
  /**
   * Never throws and never waits: a bus that is down loses pokes, which the polls make good. Listeners are called soon
   * after, in order, never inside the publisher's stack; those of this process even while Redis is away.
   */
  publish<T extends BusTopic>(topic: T, payload: BusTopics[T]): void;
  /** Answers the unsubscribe function. */
  subscribe<T extends BusTopic>(topic: T, listener: (payload: BusTopics[T]) => void): () => void;
  /** False while other processes' pokes do not arrive here (it changes with the connection): then polls are all there is. */
  readonly shared: boolean;
  close(): Promise<void>;
}
