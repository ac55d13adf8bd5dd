import Joi from 'joi';
import { row } from '#src/db/sql.js';
import type { UserRow } from '#src/db/types.js';
import {
  ALERT_CODES,
  DEFAULT_PREFERENCES,
  SEVERITIES,
  type AlertFilter,
  type Preferences,
} from '#src/domain/alert.js';
import { named } from '../fields.js';
import { inPerson } from '../gates.js';
import { defineRoute, type Route } from '../route.js';

const tag = 'auth';

const filter = Joi.object<AlertFilter, true>({
  severities: Joi.array()
    .items(Joi.string().valid(...SEVERITIES))
    .unique()
    .required()
    .example(['critical'])
    .description('Of the alerts that go this way; none: nothing does'),
  muted: Joi.array()
    .items(Joi.string().valid(...ALERT_CODES))
    .unique()
    .required()
    .example(['overloaded'])
    .description('Codes of alerts that don’t, whatever their severity'),
});

const preferences = named(
  'Preferences',
  Joi.object<Preferences, true>({ email: filter.required(), webhook: filter.required() }),
);

const change = Joi.object<Partial<Preferences>>({ email: filter, webhook: filter });

const get = defineRoute({
  operationId: 'readMyPreferences',
  method: 'GET',
  path: '/auth/me/preferences',
  tag,
  summary: 'Which alerts I get, beside the list of notifications',
  auth: inPerson,
  success: { status: 200, schema: preferences },
  async handler({ actor }, { db }) {
    const user = await row<Stored>(db, 'SELECT preferences FROM users WHERE id = $1', { bind: [actor.id] });
    return { body: complete(user) };
  },
});

const put = defineRoute({
  operationId: 'updateMyPreferences',
  method: 'PUT',
  path: '/auth/me/preferences',
  tag,
  summary: 'Choose which alerts I get',
  description: 'What is left out stays as it is.',
  auth: inPerson,
  body: change,
  success: { status: 200, schema: preferences },
  async handler({ actor, body }, { db }) {
    const user = await row<Stored>(
      db,
      `UPDATE users SET preferences = coalesce(preferences, '{}') || $2::jsonb WHERE id = $1 RETURNING preferences`,
      { bind: [actor.id, JSON.stringify(body)] },
    );
    return { body: complete(user) };
  },
});

type Stored = Pick<UserRow, 'preferences'>;

function complete(user: Stored | undefined): Preferences {
  return { ...DEFAULT_PREFERENCES, ...user?.preferences };
}

export const preferenceRoutes: Route[] = [get, put];
