/** Takes a value as an agent said it, and answers it if it can be true, else null. */
type Rule = (value: number | null | undefined) => number | null;

const upTo =
  (max: number): Rule =>
  value =>
    typeof value === 'number' && value >= 0 && value <= max ? value : null;

const wholeUpTo =
  (max: number): Rule =>
  value =>
    Number.isSafeInteger(value) ? upTo(max)(value) : null;

const bytes = wholeUpTo(Number.MAX_SAFE_INTEGER);
const ofOneCore = 100;
const CENTURY_S = 100 * 366 * 86_400;

const HOST = {
  cpu_percent: upTo(100),
  memory_total: bytes,
  memory_used: bytes,
  disk_total: bytes,
  disk_used: bytes,
  network_sent: bytes,
  network_received: bytes,
};

const SERVER = {
  cpu_percent: upTo(4_096 * ofOneCore),
  memory_used: bytes,
  players_online: wholeUpTo(1_000_000),
  // A world that is made to sprint ticks faster than 20.
  tps: upTo(10_000),
  uptime_seconds: wholeUpTo(CENTURY_S),
  disk_used: bytes,
};

type Measured<Column> = Partial<Record<Column & string, number | null | undefined>>;

/** What was measured of a host, named as the columns of agent_metrics. */
export type HostMeasures = Measured<keyof typeof HOST>;
/** What was measured of a server, named as the columns of server_metrics. */
export type ServerMeasures = Measured<keyof typeof SERVER>;

export function saneHost(said: HostMeasures): Record<string, number | null> {
  return sane(HOST, said);
}

export function saneServer(said: ServerMeasures): Record<string, number | null> {
  return sane(SERVER, said);
}

/** Null in place of all that cannot be true: an agent may be wrong about one thing and right about the others. */
function sane(rules: Record<string, Rule>, said: Record<string, number | null | undefined>) {
  return Object.fromEntries(Object.entries(rules).map(([column, rule]) => [column, rule(said[column])]));
}
