import Joi from 'joi';
import { ROLES } from '#src/domain/permissions.js';
import { anyText, boolean, named, readOnly, time, uuid } from '../fields.js';

const username = () =>
  Joi.string()
    .min(3)
    .max(50)
    .pattern(/^[A-Za-z0-9_.-]+$/)
    .example('steve');
/** Any domain, also one of a home network. Stored in lower case, so that an address is one account. */
const email = () => Joi.string().email({ tlds: false }).lowercase().max(100).example('steve@example.com');
const newPassword = () => Joi.string().min(8).max(256).example('correct horse battery');
/** At login the length is not judged: older accounts may have shorter ones. */
const givenPassword = () => Joi.string().max(1024);

export interface Registration {
  username: string;
  email: string;
  password: string;
}
export const registration = Joi.object<Registration, true>({
  username: username().required(),
  email: email().required(),
  password: newPassword().required(),
});

export interface Login {
  username?: string;
  email?: string;
  password: string;
}
export const login = Joi.object<Login, true>({
  username: Joi.string().max(100).description('The username, or the email address'),
  email: Joi.string().max(100),
  password: givenPassword().required(),
}).xor('username', 'email');

export interface Refresh {
  refresh_token: string;
}
export const refresh = Joi.object<Refresh, true>({ refresh_token: Joi.string().max(512).required() });

export interface Logout {
  refresh_token?: string;
}
export const logout = Joi.object<Logout, true>({
  refresh_token: Joi.string().max(512).allow('', null).description('Also ends this token’s session'),
});

export interface ProfileChange {
  username?: string;
  email?: string;
}
export const profileChange = Joi.object<ProfileChange>({
  username: username(),
  email: email(),
  ...readOnly('id', 'role', 'is_active', 'last_login', 'created_at', 'updated_at'),
});

export interface PasswordChange {
  current_password: string;
  new_password: string;
}
export const passwordChange = Joi.object<PasswordChange, true>({
  current_password: givenPassword().required(),
  new_password: newPassword().required(),
});

export const user = named(
  'User',
  Joi.object({
    id: uuid().required(),
    username: anyText().required(),
    email: anyText().required(),
    role: Joi.string()
      .valid(...ROLES)
      .required(),
    is_active: boolean().required(),
    last_login: time().allow(null).required(),
    created_at: time().required(),
    updated_at: time().required(),
  }),
);

export const session = named(
  'Session',
  Joi.object({
    token: Joi.string().required().description('The same as access_token'),
    access_token: Joi.string().required(),
    refresh_token: Joi.string().required(),
    token_type: Joi.string().valid('Bearer').required(),
    expires_in: Joi.number().integer().required().description('Seconds that the access token is good for'),
    user: user.required(),
  }),
);

export const message = named('Message', Joi.object({ message: Joi.string().required() }));
