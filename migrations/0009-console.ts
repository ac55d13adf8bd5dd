import type { Migration } from './migration.js';

/** The times of a server's lines only grow, so that one of them says where a reader is: the newest of each run. */
export const console: Migration = {
  name: '0009-console',
  up: `ALTER TABLE log_cursors ADD COLUMN last_at timestamptz`,
  down: `ALTER TABLE log_cursors DROP COLUMN last_at`,
};
