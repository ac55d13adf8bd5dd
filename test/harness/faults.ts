import pg from 'pg';
import { waitFor } from './waitFor.js';

/** A trap that is set for one server and one of the events of its operations. */
export interface Trap {
  /** Resolves when the event has been committed. From then on no further event of this server is, until `release`. */
  readonly sprung: Promise<void>;
  /** Lets events pass again. Never rejects: a database that has been killed meanwhile holds nothing. */
  release(): Promise<void>;
}

/** First half of the advisory lock that a trap holds; the other one is its server. */
const GATE = 0x6661756c;
const SPRUNG_TIMEOUT_MS = 60_000;
const NAME_OF_NEW = `coalesce(NEW.data ->> 'status', NEW.data #>> '{progress,phase}', NEW.type)`;

/**
 * Makes the instants between two events of an operation as long as a test needs to strike there. The event's own
 * transaction commits and tells us; the transaction of the next one waits at a lock that we hold. An event is named by
 * its type, a change of status by the new status, progress by its phase; that a server has become `installed` counts as
 * one.
 */
export async function installTraps(databaseUrl: string): Promise<void> {
  await withConnection(databaseUrl, connection =>
    connection.query(`
      CREATE TABLE fault_traps (server_id uuid PRIMARY KEY, event text NOT NULL, sprung boolean NOT NULL DEFAULT false);
      CREATE FUNCTION spring_fault_traps() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_advisory_xact_lock_shared(${GATE}, hashtext(NEW.server_id::text)) FROM fault_traps
          WHERE server_id = NEW.server_id AND sprung;
        PERFORM spring_fault_trap(NEW.server_id, ${NAME_OF_NEW});
        RETURN NEW;
      END $$;
      CREATE FUNCTION spring_fault_trap(server uuid, happened text) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN
        UPDATE fault_traps SET sprung = true WHERE server_id = server AND NOT sprung AND event = happened;
        IF FOUND THEN PERFORM pg_notify('fault_traps', server::text); END IF;
      END $$;
      CREATE FUNCTION spring_when_installed() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM spring_fault_trap(NEW.id, 'installed');
        RETURN NEW;
      END $$;
      CREATE TRIGGER spring_fault_traps AFTER INSERT ON operation_events
        FOR EACH ROW EXECUTE FUNCTION spring_fault_traps();
      CREATE TRIGGER spring_when_installed AFTER UPDATE ON servers
        FOR EACH ROW WHEN (NEW.installed AND NOT OLD.installed) EXECUTE FUNCTION spring_when_installed();
    `),
  );
}

export async function setTrap(databaseUrl: string, serverId: string, event: string): Promise<Trap> {
  const connection = await connect(databaseUrl);
  const sprung = new Promise<void>((resolve, reject) => {
    const overdue = setTimeout(
      () => reject(new Error(`no event "${event}" within ${SPRUNG_TIMEOUT_MS} ms`)),
      SPRUNG_TIMEOUT_MS,
    );
    connection.on('notification', ({ payload }) => {
      if (payload !== serverId) return;
      clearTimeout(overdue);
      resolve();
    });
  });
  sprung.catch(() => undefined); // whoever waits for it is told; nobody may be there yet
  await connection.query('LISTEN fault_traps');
  await connection.query('SELECT pg_advisory_lock($1, hashtext($2))', [GATE, serverId]);
  await connection.query(
    `INSERT INTO fault_traps VALUES ($1, $2) ON CONFLICT (server_id) DO UPDATE SET event = $2, sprung = false`,
    [serverId, event],
  );
  return {
    sprung,
    async release() {
      const gone = () => undefined;
      await connection.query('DELETE FROM fault_traps WHERE server_id = $1', [serverId]).catch(gone);
      await connection.end().catch(gone);
    },
  };
}

/** What was committed last of each of these operations, by the names that traps know. */
export async function lastEvents(
  databaseUrl: string,
  operationIds: readonly string[],
): Promise<Map<string, string>> {
  const last = new Map<string, string>();
  const sql = `SELECT DISTINCT ON (op_id) op_id AS id, ${NAME_OF_NEW} AS event FROM operation_events NEW
               WHERE op_id = ANY($1::uuid[]) ORDER BY op_id, seq DESC`;
  await withConnection(databaseUrl, async connection => {
    const { rows } = await connection.query<{ id: string; event: string }>(sql, [operationIds]);
    for (const { id, event } of rows) last.set(id, event);
  });
  return last;
}

/** Resolves once the write of a next event waits at a sprung trap. */
export async function untilHeld(databaseUrl: string): Promise<void> {
  const sql = `SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND NOT granted`;
  await withConnection(databaseUrl, connection =>
    waitFor(async () => (await connection.query(sql, [GATE])).rowCount, { what: 'a write to wait' }),
  );
}

async function connect(url: string): Promise<pg.Client> {
  const connection = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  // A killed database fails the query that waits for it; between queries it is no news to us.
  connection.on('error', () => undefined);
  await connection.connect();
  return connection;
}

async function withConnection(url: string, work: (connection: pg.Client) => Promise<unknown>): Promise<void> {
  const connection = await connect(url);
  try {
    await work(connection);
  } finally {
    await connection.end();
  }
}
