import { setTimeout as sleep } from 'node:timers/promises';
import { ProcessState } from '#proto/gen/agent.js';
import type { CallOptions } from '#src/agents/gateway.js';
import type { ConfigObject } from '#src/domain/configValue.js';
import { AppError } from '#src/domain/errors.js';
import {
  addCommand,
  FILE_OF_LIST,
  findListed,
  parsePlayerList,
  removeCommand,
  withoutPlayer,
  withPlayer,
  playerOf,
  type Listing,
  type PlayerList,
} from '#src/domain/playerLists.js';
import { readProperties } from '#src/domain/serverProperties.js';
import type { ServerStatus } from '#src/domain/serverState.js';
import type { Api } from '../deps.js';
import { jsonConfig } from '../files/jsonConfig.js';
import type { ServerFolder } from '../files/serverFolder.js';
import { changeText, loadText } from '../files/textFile.js';
import { inUtf8 } from '../files/utf8.js';
import { sendCommand } from './live.js';
import { identifyPlayer } from './playerIds.js';
import type { ListedServer } from './queries.js';

/** A server that asks Mojang takes a while. */
const CONFIRMED_WITHIN_MS = 5_000;
const LOOK_EVERY_MS = 100;
/** What vanilla gives an operator where server.properties does not say. */
const LEVEL_DEFAULT = 4;

const json = inUtf8(jsonConfig);

/** One of the lists of one server, within one request. */
export interface ListTarget {
  api: Api;
  server: ListedServer;
  folder: ServerFolder;
  list: PlayerList;
  call: CallOptions;
}

export type Applied = 'console' | 'file';

/** Nobody where the server has not made the file yet. Rejects with `invalid-config`. */
export async function readListed({ api, folder, list, call }: ListTarget): Promise<ConfigObject[]> {
  const { text } = await loadText(api, folder, FILE_OF_LIST[list], call);
  return entriesOf(text, list);
}

/**
 * By the console of a running server, else in its file. The command has then been given, and not yet followed: see
 * `confirmListed`. Rejects with `server-changing`, `server-running` for a level that the console cannot give, and as
 * the console, the files and `identifyPlayer` do.
 */
export async function addPlayer(target: ListTarget, name: string, listing: Listing): Promise<Applied> {
  const { api, folder, list, call } = target;
  if (await isRunning(target)) {
    await assertLevelByConsole(target, name, listing);
    return command(target, addCommand(list, name, listing));
  }
  const listed = findListed(await readListed(target), name);
  const player = (listed && playerOf(listed)) ?? (await identifyPlayer(api, folder, name, call));
  const level = listed ? listing.level : (listing.level ?? (await defaultLevel(target)));
  const given = { ...listing, ...(level !== undefined && { level }) };
  return changeFile(target, entries => withPlayer(entries, list, player, given, new Date()));
}

/** Also of somebody who is not on it. Rejects like `addPlayer`. */
export async function removePlayer(target: ListTarget, name: string): Promise<Applied> {
  if (await isRunning(target)) return command(target, removeCommand(target.list, name));
  return changeFile(target, entries => withoutPlayer(entries, name));
}

/** Waits until the file has, or has not, the player; answers the entry. Rejects with `console-unconfirmed`. */
export async function confirmListed(
  target: ListTarget,
  name: string,
  isWanted: boolean,
): Promise<ConfigObject | undefined> {
  const end = performance.now() + CONFIRMED_WITHIN_MS;
  for (;;) {
    const entries = await readSettled(target);
    const entry = entries && findListed(entries, name);
    if (entries && (entry !== undefined) === isWanted) return entry;
    if (performance.now() > end) throw unconfirmed(target, isWanted);
    await sleep(LOOK_EVERY_MS, undefined, target.call.signal && { signal: target.call.signal });
  }
}

/** Undefined while the server writes it. */
async function readSettled({ api, folder, list, call }: ListTarget): Promise<ConfigObject[] | undefined> {
  const { text, etag } = await loadText(api, folder, FILE_OF_LIST[list], call);
  if (etag !== null && text.trim() === '') return undefined;
  try {
    return entriesOf(text, list);
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid-config') return undefined;
    throw error;
  }
}

function unconfirmed({ list }: ListTarget, isWanted: boolean): AppError {
  const detail = isWanted
    ? `${FILE_OF_LIST[list]} does not name the player: is there one of that name? The console tells more`
    : `${FILE_OF_LIST[list]} still names the player. The console tells more`;
  return new AppError('console-unconfirmed', { detail });
}

function entriesOf(text: string, list: PlayerList): ConfigObject[] {
  return text.trim() === '' ? [] : parsePlayerList(json.read(text), list);
}

async function command({ api, server, call }: ListTarget, line: string): Promise<Applied> {
  await sendCommand(api, server, line, call);
  return 'console';
}

/** A start in the meantime may have read the file before: then this is not known to count. */
async function changeFile(
  target: ListTarget,
  change: (entries: ConfigObject[]) => ConfigObject[],
): Promise<Applied> {
  const { api, folder, list, call } = target;
  await changeText(
    api,
    folder,
    FILE_OF_LIST[list],
    ({ text }) => json.change(text, change(entriesOf(text, list))),
    { call },
  );
  if (await isRunning(target))
    throw new AppError('server-changing', { detail: 'The server has just started' });
  return 'file';
}

/** As its agent sees it; one of version 1 does not tell, so there it is what is on record. */
async function isRunning({ api, server, folder, call }: ListTarget): Promise<boolean> {
  const state = await observedState({ api, server, folder, call });
  if (state === ProcessState.STARTING || state === ProcessState.STOPPING)
    throw new AppError('server-changing');
  return state === ProcessState.RUNNING;
}

async function observedState({ api, server, folder, call }: Omit<ListTarget, 'list'>): Promise<ProcessState> {
  try {
    const { servers } = await api.gateway.inspectServers(folder.agent, call);
    return servers.find(({ serverId }) => serverId === server.id)?.state ?? ProcessState.STOPPED;
  } catch (error) {
    if (error instanceof AppError && error.code === 'agent-unsupported') return RECORDED[server.status];
    throw error;
  }
}

const RECORDED: Readonly<Record<ServerStatus, ProcessState>> = {
  running: ProcessState.RUNNING,
  starting: ProcessState.STARTING,
  stopping: ProcessState.STOPPING,
  stopped: ProcessState.STOPPED,
  error: ProcessState.CRASHED,
};

/** `op` gives the level of server.properties and no other. */
async function assertLevelByConsole(target: ListTarget, name: string, { level }: Listing): Promise<void> {
  if (target.list !== 'ops' || level === undefined) return;
  const listed = findListed(await readListed(target), name);
  if (level === (listed ? listed['level'] : await defaultLevel(target))) return;
  throw new AppError('server-running', {
    detail: 'The console gives the op-permission-level of server.properties: stop the server for another one',
  });
}

async function defaultLevel({ api, folder, call }: ListTarget): Promise<number> {
  const { text } = await loadText(api, folder, 'server.properties', call);
  const level = Number(readProperties(text)['op-permission-level']);
  return Number.isInteger(level) && level >= 1 && level <= 4 ? level : LEVEL_DEFAULT;
}
