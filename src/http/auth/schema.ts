import Joi from 'joi';
import { ROLES } from '#src/domain/permissions.js';
import { anyText, boolean, integer, named, readOnly, time, uuid } from '../fields.js';

export const username = () =>
  Joi.string()
    .min(3)
    .max(50)
    .pattern(/^[A-Za-z0-9_.-]+$/)
    .example('steve');
/** Any domain, also one of a home network. Stored in lower case, so that an address is one account. */
export const email = () =>
  Joi.string().email({ tlds: false }).lowercase().max(100).example('steve@example.com');
const newPassword = () => Joi.string().min(8).max(256).example('correct horse battery');
/** At login the length is not judged: older accounts may have shorter ones. */
const givenPassword = () => Joi.string().max(1024);
/** Six digits of an app, or a recovery code. */
const secondFactor = () => Joi.string().max(64).example('492039');

export interface Registration {
  username: string;
  email: string;
  password: string;
  invitation?: string;
}
export const registration = Joi.object<Registration, true>({
  username: username().required(),
  email: email().required(),
  password: newPassword().required(),
  invitation: Joi.string().max(512).description('Where one must be invited: the token of the invitation'),
});

export interface Login {
  username?: string;
  email?: string;
  password: string;
  totp?: string;
}
export const login = Joi.object<Login, true>({
  username: Joi.string().max(100).description('The username, or the email address'),
  email: Joi.string().max(100),
  password: givenPassword().required(),
  totp: secondFactor().description('Where a second factor is enabled: its code, or a recovery code'),
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

export interface ResetRequest {
  email: string;
}
export const resetRequest = Joi.object<ResetRequest, true>({ email: email().required() });

export interface ResetConfirmation {
  token: string;
  new_password: string;
}
export const resetConfirmation = Joi.object<ResetConfirmation, true>({
  token: Joi.string()
    .max(512)
    .example('fR0cZ3l8xk4Wq2dTnY7bS1vLmH9uEoJ6aPgKiXsCwQk')
    .required()
    .description('From the link of the mail'),
  new_password: newPassword().required(),
});

export interface TotpEnrolment {
  password: string;
}
export const totpEnrolment = Joi.object<TotpEnrolment, true>({ password: givenPassword().required() });

export interface TotpVerification {
  totp: string;
}
export const totpVerification = Joi.object<TotpVerification, true>({ totp: secondFactor().required() });

export interface TotpDisabling {
  password: string;
  totp: string;
}
export const totpDisabling = Joi.object<TotpDisabling, true>({
  password: givenPassword().required(),
  totp: secondFactor().required(),
});

export const totpSecret = named(
  'TotpSecret',
  Joi.object({
    secret: Joi.string().required().description('Base32, for typing'),
    otpauth_uri: Joi.string().required().description('The same for a QR code'),
  }),
);
export const recoveryCodes = named(
  'RecoveryCodes',
  Joi.object({
    recovery_codes: Joi.array()
      .items(Joi.string().example('ABCD-EFGH-IJKL-MNOP'))
      .required()
      .description('Each signs in once where the app is lost. Never shown again'),
  }),
);

export interface InvitationCreation {
  valid_for_days: number;
}
export const invitationCreation = Joi.object<InvitationCreation, true>({
  valid_for_days: integer().min(1).max(30).default(7),
});
export const invitation = named(
  'Invitation',
  Joi.object({
    id: uuid().required(),
    token: Joi.string().required().description('For the `invitation` of one registration; never shown again'),
    expires_at: time().required(),
  }),
);

export const sessions = Joi.array().items(
  named(
    'SessionInfo',
    Joi.object({
      id: uuid().required(),
      ip_address: anyText().allow(null).required(),
      user_agent: anyText().allow(null).required(),
      created_at: time().required().description('When it was signed in'),
      last_used_at: time().required().description('When its tokens were last refreshed'),
      expires_at: time().required(),
      current: boolean().required().description('The one that asks'),
    }),
  ),
);

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
