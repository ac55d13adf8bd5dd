import { isConfigList, isConfigObject, type ConfigObject, type ConfigValue } from './configValue.js';
import { assertNever, AppError } from './errors.js';

/** The lists that a server keeps of players, by their names in our routes. */
export const PLAYER_LISTS = ['whitelist', 'ops', 'bans'] as const;
export type PlayerList = (typeof PLAYER_LISTS)[number];

/** In the server's folder; a JSON list of entries each. */
export const FILE_OF_LIST: Readonly<Record<PlayerList, string>> = {
  whitelist: 'whitelist.json',
  ops: 'ops.json',
  bans: 'banned-players.json',
};

/** What Minecraft allows; nothing of it means anything to a console. */
export const PLAYER_NAME = /^[A-Za-z0-9_]{1,16}$/;

export interface Player {
  name: string;
  /** With hyphens. */
  uuid: string;
}

/** A UUID of its 32 hex digits. */
export function withHyphens(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export interface Listing {
  /** Operators: 1 to 4; absent: as the server's op-permission-level has it. */
  level?: number;
  /** Bans. One line without control characters. */
  reason?: string;
}

/** What vanilla writes where nobody says why. */
export const DEFAULT_REASON = 'Banned by an operator.';

/** Entries as they are, with whatever other keys. Throws `invalid-config`. */
export function parsePlayerList(value: ConfigValue, list: PlayerList): ConfigObject[] {
  if (isConfigList(value) && value.every(entry => isConfigObject(entry))) return [...value];
  throw new AppError('invalid-config', { detail: `${FILE_OF_LIST[list]} is no list of players` });
}

/** Undefined for an entry that somebody wrote without an id. */
export function playerOf({ name, uuid }: ConfigObject): Player | undefined {
  return typeof name === 'string' && typeof uuid === 'string' ? { name, uuid } : undefined;
}

/** Names are the same in whatever case. */
export function findListed(entries: readonly ConfigObject[], name: string): ConfigObject | undefined {
  return entries.find(entry => isOf(entry, name));
}

export function withoutPlayer(entries: readonly ConfigObject[], name: string): ConfigObject[] {
  return entries.filter(entry => !isOf(entry, name));
}

/** Who is listed already keeps the entry, but for an operator's level where one is given. */
export function withPlayer(
  entries: readonly ConfigObject[],
  list: PlayerList,
  player: Player,
  listing: Listing,
  now: Date,
): ConfigObject[] {
  if (!findListed(entries, player.name)) return [...entries, newEntry(list, player, listing, now)];
  if (list !== 'ops' || listing.level === undefined) return [...entries];
  const { level } = listing;
  return entries.map(entry => (isOf(entry, player.name) ? { ...entry, level } : entry));
}

/** In the shapes, and the order of keys, of vanilla. */
function newEntry(
  list: PlayerList,
  { uuid, name }: Player,
  { level, reason }: Listing,
  now: Date,
): ConfigObject {
  switch (list) {
    case 'whitelist':
      return { uuid, name };
    case 'ops':
      return { uuid, name, level: level ?? 4, bypassesPlayerLimit: false };
    case 'bans':
      return {
        uuid,
        name,
        created: printTime(now),
        source: 'Server',
        expires: 'forever',
        reason: reason ?? DEFAULT_REASON,
      };
    default:
      return assertNever(list);
  }
}

/** `2026-01-15 12:00:00 +0000`: yyyy-MM-dd HH:mm:ss Z of Java. */
function printTime(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} +0000`;
}

function isOf(entry: ConfigObject, name: string): boolean {
  return typeof entry['name'] === 'string' && entry['name'].toLowerCase() === name.toLowerCase();
}

/** A line for the console. `name` matches PLAYER_NAME, and the reason is one line: no command can follow. */
export function addCommand(list: PlayerList, name: string, { reason }: Listing): string {
  switch (list) {
    case 'whitelist':
      return `whitelist add ${name}`;
    case 'ops':
      return `op ${name}`;
    case 'bans':
      return reason === undefined ? `ban ${name}` : `ban ${name} ${reason}`;
    default:
      return assertNever(list);
  }
}

export function removeCommand(list: PlayerList, name: string): string {
  switch (list) {
    case 'whitelist':
      return `whitelist remove ${name}`;
    case 'ops':
      return `deop ${name}`;
    case 'bans':
      return `pardon ${name}`;
    default:
      return assertNever(list);
  }
}

/** Of usercache.json: the players a server has met, until their entry expires. */
export function findCached(value: ConfigValue, name: string, now: Date): Player | undefined {
  if (!isConfigList(value)) return undefined;
  for (const entry of value) {
    if (!isConfigObject(entry) || !isOf(entry, name)) continue;
    const { uuid, name: known, expiresOn } = entry;
    const isFresh = typeof expiresOn !== 'string' || !(Date.parse(expiresOn) <= now.getTime());
    if (isFresh && typeof uuid === 'string' && typeof known === 'string') return { name: known, uuid };
  }
  return undefined;
}
