import Joi from 'joi';
import { PLAYER_NAME, withHyphens, type Player } from '#src/domain/playerLists.js';
import type { Upstream } from './upstream.js';

/** With the name as its owner writes it; null where there is no such account. Rejects with `upstream-failed`. */
export type FindProfile = (name: string, signal?: AbortSignal) => Promise<Player | null>;

const profileSchema = Joi.object<{ id: string; name: string }, true>({
  id: Joi.string()
    .pattern(/^[0-9a-f]{32}$/)
    .required(),
  name: Joi.string().pattern(PLAYER_NAME).required(),
});

/** In older days it said 204. */
const ABSENT = [404, 204];

/** Mojang's accounts: `GET /users/profiles/minecraft/<name>` answers `{id: 32 hex digits, name}`. */
export function createFindProfile(mojang: Upstream): FindProfile {
  return async (name, signal) => {
    const url = mojang.url('users', 'profiles', 'minecraft', name);
    const found = await mojang.json(url, profileSchema, { signal, absent: ABSENT });
    return found && { name: found.name, uuid: withHyphens(found.id) };
  };
}
