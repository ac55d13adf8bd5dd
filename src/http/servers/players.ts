import Joi from 'joi';
import type { CallOptions } from '#src/agents/gateway.js';
import { appendAudit } from '#src/db/audit.js';
import type { AuditAction } from '#src/domain/audit.js';
import type { ConfigObject } from '#src/domain/configValue.js';
import type { ErrorCode } from '#src/domain/errors.js';
import {
  FILE_OF_LIST,
  PLAYER_LISTS,
  PLAYER_NAME,
  type Listing,
  type PlayerList,
} from '#src/domain/playerLists.js';
import type { Api } from '../deps.js';
import { anyText, boolean, idParams, integer, line, named, uuid } from '../fields.js';
import { FILE_FAILURES, findFolder } from '../files/serverFolder.js';
import { defineRoute, type Route, type RouteRequest } from '../route.js';
import { onServer, type OnServer } from './policy.js';
import {
  addPlayer,
  confirmListed,
  readListed,
  removePlayer,
  type Applied,
  type ListTarget,
} from './playerListing.js';

const tag = 'servers';

interface PlayerParams {
  id: string;
  player: string;
}
const playerParams = Joi.object<PlayerParams, true>({
  id: uuid().required(),
  player: Joi.string().pattern(PLAYER_NAME).required().example('Notch'),
});

const view = {
  player: anyText().required().example('Notch'),
  uuid: anyText().allow(null).required().example('069a79f4-44e9-4726-a5be-fca90e38aaf5'),
  level: integer().description('Of operators: 1 to 4'),
  bypasses_player_limit: boolean().description('Of operators'),
  reason: anyText().description('Of bans'),
  created: anyText().description('Of bans, as the server writes it').example('2026-01-15 12:00:00 +0000'),
  source: anyText().description('Of bans: who banned'),
  expires: anyText().description('Of bans: a time, or forever'),
};
const listedPlayers = Joi.array().items(named('ListedPlayer', Joi.object(view)));
const changedPlayer = named(
  'ChangedPlayer',
  Joi.object({
    ...view,
    applied: Joi.string()
      .valid('console', 'file')
      .required()
      .description('How: by the console of a running server, or in the file of a stopped one'),
  }),
);

const NAMES: Readonly<Record<PlayerList, { list: string; one: string; body: Joi.ObjectSchema<Listing> }>> = {
  whitelist: { list: 'Whitelist', one: 'WhitelistedPlayer', body: Joi.object<Listing>({}) },
  ops: {
    list: 'Ops',
    one: 'Op',
    body: Joi.object<Listing>({
      level: integer()
        .min(1)
        .max(4)
        .description(
          'Absent: op-permission-level of server.properties, which is all that a running server gives',
        )
        .example(4),
    }),
  },
  bans: {
    list: 'Bans',
    one: 'Ban',
    body: Joi.object<Listing>({ reason: line().min(1).max(256).example('Griefing') }),
  },
};

const CHANGE_FAILURES: readonly ErrorCode[] = [
  'server-changing',
  'server-not-running',
  'console-busy',
  'console-unconfirmed',
  'outcome-unknown',
  'invalid-config',
  'body-too-large',
  'precondition-failed',
  'disk-full',
  ...FILE_FAILURES,
];

function routesOf(list: PlayerList): Route[] {
  const { list: Name, one, body } = NAMES[list];
  const path = `/servers/:id/${list}`;
  const auth = onServer('settings');
  const file = FILE_OF_LIST[list];

  const all = defineRoute({
    operationId: `list${Name}`,
    method: 'GET',
    path,
    tag,
    summary: `Who is in ${file}`,
    auth,
    params: idParams,
    success: { status: 200, schema: listedPlayers },
    errors: ['invalid-config', 'body-too-large', ...FILE_FAILURES],
    async handler(request, api) {
      const entries = await readListed(await targetOf(request, api, list));
      return { body: entries.map(presentPlayer) };
    },
  });

  const put = defineRoute({
    operationId: `put${one}`,
    method: 'PUT',
    path: `${path}/:player`,
    tag,
    summary: `Put a player into ${file}`,
    description:
      'By the console of a running server, in the file of a stopped one. Who is listed already stays as listed, but for the level that an operator of a stopped server is given. A stopped server takes the id of a player from usercache.json; else it follows from the name where online-mode is false, and is Mojang’s where it is true.',
    auth,
    params: playerParams,
    body,
    success: { status: 200, schema: changedPlayer },
    errors: [
      ...CHANGE_FAILURES,
      'player-unknown',
      'upstream-failed',
      ...(list === 'ops' ? (['server-running'] as const) : []),
    ],
    async handler(request, api) {
      const target = await targetOf(request, api, list);
      const { player } = request.params;
      const applied = await addPlayer(target, player, request.body);
      await audit('player.listed', request, target, applied);
      const entry = await confirmListed(target, player, true);
      return { body: { ...presentPlayer(entry ?? { name: player }), applied } };
    },
  });

  const remove = defineRoute({
    operationId: `remove${one}`,
    method: 'DELETE',
    path: `${path}/:player`,
    tag,
    summary: `Take a player out of ${file}`,
    description:
      'By the console of a running server, in the file of a stopped one. Also of who is not in it.',
    auth,
    params: playerParams,
    success: { status: 204 },
    errors: CHANGE_FAILURES,
    async handler(request, api) {
      const target = await targetOf(request, api, list);
      const applied = await removePlayer(target, request.params.player);
      await audit('player.unlisted', request, target, applied);
      await confirmListed(target, request.params.player, false);
      return { body: null };
    },
  });

  return [all, put, remove];
}

type ListRequest = OnServer & { signal: AbortSignal; requestId: string };

async function targetOf(
  { server, signal, requestId }: ListRequest,
  api: Api,
  list: PlayerList,
): Promise<ListTarget> {
  const call: CallOptions = { signal, requestId };
  return { api, server, folder: await findFolder(api, server), list, call };
}

/** Before it is looked whether the server has followed: it has been told to, whatever comes. */
async function audit(
  action: AuditAction,
  { actor, params, ip, requestId }: OnServer & RouteRequest<PlayerParams, unknown, unknown>,
  { api, server, list }: ListTarget,
  applied: Applied,
): Promise<void> {
  const target = { type: 'server', id: server.id } as const;
  const data = { list, player: params.player, applied };
  await appendAudit(api.db, { action, actor, ip, requestId, target, data });
}

function presentPlayer({ name, uuid: id, level, bypassesPlayerLimit, ...ban }: ConfigObject) {
  return {
    player: textOf(name) ?? '',
    uuid: textOf(id) ?? null,
    ...(typeof level === 'number' && Number.isInteger(level) && { level }),
    ...(typeof bypassesPlayerLimit === 'boolean' && { bypasses_player_limit: bypassesPlayerLimit }),
    ...textsOf(ban, ['reason', 'created', 'source', 'expires']),
  };
}

function textsOf(entry: ConfigObject, keys: readonly string[]): Record<string, string> {
  const texts = keys.map((key): [string, string | undefined] => [key, textOf(entry[key])]);
  return Object.fromEntries(texts.filter((pair): pair is [string, string] => pair[1] !== undefined));
}

function textOf(value: ConfigObject[string] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export const playerRoutes: Route[] = PLAYER_LISTS.flatMap(routesOf);
