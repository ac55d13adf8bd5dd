import type { Outlet, Subscription } from './outlet.js';

/** What stands behind a channel while someone watches it: made for the first subscriber, closed with the last. */
export interface Feed {
  /** Nobody is subscribed or about to be. */
  readonly idle: boolean;
  /**
   * Joins, then reads at most `limit` messages since the cursor `after` (null: what a newcomer should know).
   * Rejects with `invalid-request` for a bad cursor, or with what the reading rejects with; then nothing has joined.
   */
  subscribe(outlet: Outlet, after: string | null, limit: number): Promise<Subscription>;
  /** Closes the subscriptions that are left; resolves when nothing of it runs any more. */
  close(): Promise<void>;
}
