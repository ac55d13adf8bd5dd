/** The JSON lines that `test/fixtures/minecraft-client/client.mjs` writes, read into types. */

export interface Position {
  x: number;
  y: number;
  z: number;
}

export interface ServerStatus {
  version: string;
  protocol: number;
  motd: string;
  online: number;
  max: number;
  /** Names, as many as the server shows. */
  players: string[];
}

export type DriverEvent =
  | { event: 'joined'; at: Position }
  | { event: 'chat'; text: string }
  | { event: 'kicked'; reason: string }
  | { event: 'error'; message: string }
  | { event: 'ended'; reason: string }
  | { event: 'pong'; status: ServerStatus };

/** Throws when the line is not one of these events. */
export function readDriverEvent(line: string): DriverEvent {
  const fields: unknown = JSON.parse(line);
  const event = text(fields, 'event');
  switch (event) {
    case 'joined':
      return { event, at: { x: number(fields, 'x'), y: number(fields, 'y'), z: number(fields, 'z') } };
    case 'chat':
      return { event, text: text(fields, 'text') };
    case 'kicked':
    case 'ended':
      return { event, reason: text(fields, 'reason') };
    case 'error':
      return { event, message: text(fields, 'message') };
    case 'pong':
      return { event, status: readStatus(fields) };
    default:
      throw new Error(`unknown event from the Minecraft client: ${line}`);
  }
}

function readStatus(fields: unknown): ServerStatus {
  const players = field(fields, 'players');
  if (!Array.isArray(players)) throw new TypeError('players: expected a list');
  return {
    version: text(fields, 'version'),
    protocol: number(fields, 'protocol'),
    motd: text(fields, 'motd'),
    online: number(fields, 'online'),
    max: number(fields, 'max'),
    players: players.map(String),
  };
}

function text(fields: unknown, name: string): string {
  const value = field(fields, name);
  if (typeof value !== 'string') throw new TypeError(`${name}: expected text, got ${String(value)}`);
  return value;
}

function number(fields: unknown, name: string): number {
  const value = field(fields, name);
  if (typeof value !== 'number') throw new TypeError(`${name}: expected a number, got ${String(value)}`);
  return value;
}

function field(fields: unknown, name: string): unknown {
  if (typeof fields !== 'object' || fields === null) throw new TypeError('expected an object');
  return Reflect.get(fields, name);
}
