import Joi from 'joi';
import { SCOPE_MEANINGS, SCOPES, type Scope } from '#src/domain/scopes.js';
import { anyText, line, named, time, uuid } from '../fields.js';

const scopes = () =>
  Joi.array()
    .items(Joi.string().valid(...SCOPES))
    .unique()
    .example(['read', 'power'])
    .description(SCOPES.map(scope => `\`${scope}\`: ${SCOPE_MEANINGS[scope]}`).join('; '));

export interface KeyCreation {
  name: string;
  scopes: Scope[];
  expires_at?: string | null;
}
export const keyCreation = Joi.object<KeyCreation, true>({
  name: line().min(1).max(100).example('nightly backups').required(),
  scopes: scopes().min(1).required(),
  expires_at: time().allow(null).example('2031-01-01T00:00:00.000Z').description('Absent: never'),
});

const key = {
  id: uuid().required(),
  name: anyText().required(),
  prefix: Joi.string().example('aymc_Zk3v9QxB').required().description('How the key begins'),
  scopes: scopes().required(),
  expires_at: time().allow(null).required(),
  last_used_at: time().allow(null).required().description('To the minute'),
  created_at: time().required(),
};

export const apiKey = named('ApiKey', Joi.object(key));
export const createdKey = named(
  'CreatedApiKey',
  Joi.object({ ...key, key: Joi.string().required().description('The key itself, never shown again') }),
);
export const apiKeys = Joi.array().items(apiKey);
