/**
 * One step of the schema. Both directions are SQL scripts: PostgreSQL's DDL is transactional, so the migrator runs a
 * whole batch in one transaction and nothing is ever half applied. (What cannot run in a transaction, such as
 * CREATE INDEX CONCURRENTLY, therefore has no place here.)
 *
 * A migration that has been released is history: it is never edited, and imports nothing, since the code it would
 * import goes on changing.
 */
export interface Migration {
  /** `NNNN-subject`; the order of names is the order of application. */
  readonly name: string;
  readonly up: string;
  /** Leaves exactly the schema that `up` found. */
  readonly down: string;
}
