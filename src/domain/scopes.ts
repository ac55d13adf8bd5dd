/** What an API key can be allowed. Within what its owner may: a scope never adds to a role or a membership. */
export const SCOPES = [
  'read',
  'power',
  'console',
  'files',
  'backups',
  'plugins',
  'servers:write',
  'admin',
] as const;
export type Scope = (typeof SCOPES)[number];

export const SCOPE_MEANINGS: Record<Scope, string> = {
  read: 'look at servers, their consoles and metrics, at agents and operations',
  power: 'start, stop, restart and kill servers',
  console: 'send commands',
  files: 'read and write the files of servers',
  backups: 'make, restore and delete backups',
  plugins: 'install, update and remove plugins',
  'servers:write': 'create, change, move, share and delete servers',
  admin: 'whatever only administrators may, of an administrator’s key',
};

/** `session`: matters of the account itself, which no key reaches: a stolen one must not become more than it is. */
export type ScopeNeed = Scope | 'session';

/** `scopes` are a key's; someone who has signed in with a password has none, and is not restricted. */
export function hasScope({ scopes }: { scopes?: readonly Scope[] }, needed: ScopeNeed): boolean {
  return scopes === undefined || (needed !== 'session' && scopes.includes(needed));
}
