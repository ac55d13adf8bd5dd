import Joi from 'joi';
import { SERVER_TYPES, type ServerType } from '#src/db/types.js';
import { anyText, named } from '../fields.js';
import { signedIn } from '../gates.js';
import { defineRoute, type Route } from '../route.js';
import { version as givenVersion } from '../servers/schema.js';

const tag = 'server types';

/** What people call them, and what becomes of an artefact. */
const TYPES = {
  vanilla: { name: 'Vanilla', about: 'Mojang’s own server' },
  paper: { name: 'Paper', about: 'Plugins; fast' },
  purpur: { name: 'Purpur', about: 'Plugins; Paper with more settings' },
  fabric: { name: 'Fabric', about: 'Mods; fetches Minecraft at its first start' },
  forge: { name: 'Forge', about: 'Mods; its installer runs on the agent' },
  spigot: { name: 'Spigot', about: 'Plugins; built on the agent, or from your own jar_url at once' },
} as const satisfies Record<ServerType, { name: string; about: string }>;

const serverType = () =>
  Joi.string()
    .valid(...SERVER_TYPES)
    .required();

const serverTypeSchema = named(
  'ServerType',
  Joi.object({ type: serverType(), name: anyText().required(), about: anyText().required() }).example({
    type: 'paper',
    ...TYPES.paper,
  }),
);

const list = defineRoute({
  operationId: 'listServerTypes',
  method: 'GET',
  path: '/server-types',
  tag,
  summary: 'What servers can be made of',
  auth: signedIn,
  success: { status: 200, schema: Joi.array().items(serverTypeSchema) },
  handler: () => ({ body: SERVER_TYPES.map(type => ({ type, ...TYPES[type] })) }),
});

const serverVersion = named(
  'ServerVersion',
  Joi.object({
    version: anyText().required(),
    stable: Joi.boolean().required().description('It is a release of Minecraft, no snapshot or pre-release'),
    java_major: Joi.number()
      .integer()
      .allow(null)
      .required()
      .description('The lowest Java that it runs on; null where the list of the upstream does not say')
      .example(21),
  }),
);

const versions = defineRoute({
  operationId: 'listServerVersions',
  method: 'GET',
  path: '/server-types/:type/versions',
  tag,
  summary: 'The Minecraft versions that a type comes in, newest first',
  description:
    'As the upstream of that type lists them, kept for ten minutes. While the upstream is down, what it said before is answered, with X-Stale.',
  auth: signedIn,
  params: Joi.object<{ type: ServerType }, true>({ type: serverType() }),
  query: Joi.object<{ stable?: boolean }>({
    stable: Joi.boolean().description('True: releases alone; false: all others'),
  }),
  success: {
    status: 200,
    schema: Joi.array().items(serverVersion),
    headers: {
      'X-Fetched-At': 'When the upstream said so',
      'X-Stale': '`true` where the upstream could not be asked again; else absent',
    },
  },
  errors: ['upstream-failed'],
  async handler({ params, query }, { catalogue }) {
    const offered = await catalogue.versions(params.type);
    const body = offered.versions
      .filter(({ version, stable }) => isTaken(version) && stable === (query.stable ?? stable))
      .map(({ version, stable, java_major = null }) => ({ version, stable, java_major }));
    const headers = { 'X-Fetched-At': offered.fetchedAt.toISOString() };
    return { body, headers: offered.stale ? { ...headers, 'X-Stale': 'true' } : headers };
  },
});

/** Some snapshots have names that no server can be given. */
function isTaken(version: string): boolean {
  return givenVersion().validate(version).error === undefined;
}

export const serverTypeRoutes: Route[] = [list, versions];
