import Joi from 'joi';
import { ROLES, type Role } from '#src/domain/permissions.js';
import { email, user, username } from '../auth/schema.js';
import { boolean, readOnly } from '../fields.js';
import { listQuery, sortField, type PageQuery } from '../paging.js';

export interface UserListQuery extends PageQuery {
  q?: string;
  role?: Role;
  is_active?: boolean;
  sort: string;
}
export const list = listQuery<UserListQuery>({
  q: Joi.string().max(100).description('Part of the username or the email address'),
  role: Joi.string().valid(...ROLES),
  is_active: Joi.boolean(),
  sort: sortField('username', 'email', 'role', 'created_at', 'last_login').default('username'),
});

export interface UserChange {
  username?: string;
  email?: string;
  role?: Role;
  is_active?: boolean;
}
export const change = Joi.object<UserChange>({
  username: username(),
  email: email(),
  role: Joi.string().valid(...ROLES),
  is_active: boolean(),
  ...readOnly('id', 'last_login', 'created_at', 'updated_at'),
});

export const users = Joi.array().items(user);
