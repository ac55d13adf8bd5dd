import type { Scope } from './scopes.js';

export const ROLES = ['admin', 'user', 'viewer'] as const;
export type Role = (typeof ROLES)[number];

/** What a member of a server can be given. */
export const PERMISSIONS = [
  'console.read',
  'console.write',
  'power',
  'files.read',
  'files.write',
  'backups',
  'plugins',
  'settings',
  'members',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** `view`: that it exists, its status and metrics. `own`: delete and move, the owner's and the admins' alone. */
export type ServerAction = Permission | 'view' | 'own';

/** What a key that acts so must have been made for. */
export const SCOPE_OF_ACTION: Record<ServerAction, Scope> = {
  view: 'read',
  'console.read': 'read',
  'console.write': 'console',
  power: 'power',
  'files.read': 'files',
  'files.write': 'files',
  backups: 'backups',
  plugins: 'plugins',
  settings: 'servers:write',
  members: 'servers:write',
  own: 'servers:write',
};

export interface Actor {
  id: string;
  role: Role;
  /** Only when an API key stands for them: what it was made for (scopes.ts). */
  scopes?: readonly Scope[];
}

export interface ServerAccess {
  owner_id: string;
  /** What the actor's membership grants; null = no member. */
  member: readonly Permission[] | null;
}

/** The one decision about servers. Pure: the caller has loaded the server's owner and the actor's membership. */
export function can(actor: Actor, action: ServerAction, server: ServerAccess): boolean {
  if (actor.role === 'admin') return true;
  const owns = server.owner_id === actor.id;
  if (actor.role === 'viewer') {
    // The role caps whatever the membership says.
    if (!owns && server.member === null) return false;
    return action === 'view' || (action === 'console.read' && (owns || member(server, action)));
  }
  if (owns) return true;
  if (server.member === null || action === 'own') return false;
  return action === 'view' || member(server, action);
}

function member(server: ServerAccess, permission: Permission): boolean {
  return server.member?.includes(permission) ?? false;
}

/** Creating servers is a matter of the role alone. */
export function canCreateServer(actor: Actor): boolean {
  return actor.role === 'admin' || actor.role === 'user';
}
