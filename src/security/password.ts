import { hash, verify } from '@node-rs/argon2';

export interface PasswordCost {
  /** KiB. */
  memoryCost: number;
  /** Passes over that memory. */
  timeCost: number;
  parallelism: number;
}

/** OWASP's first recommendation for argon2id: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html */
const OWASP_COST: PasswordCost = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** A hash at OWASP_COST of bytes that nobody knows. */
const NOBODYS_HASH =
  '$argon2id$v=19$m=19456,t=2,p=1$o5GY7gKiBc0uiyf/E0Sv5A$1XNQfRWhK4XPzI1GwRwL+aNsxG7qhv2/HUhWKQpIX78';

/**
 * argon2id (the library's default) as a PHC string, with its own salt. Runs on libuv's pool, so at most four at once (76 MiB). `cost` is for
 * tests, which hash often and protect nothing.
 */
export function hashPassword(password: string, cost: PasswordCost = OWASP_COST): Promise<string> {
  return hash(password, cost);
}

/**
 * Whether the password is the one that was hashed. Without a hash (there is no such user) the answer is false, after
 * as much work as for a wrong password: the time must not tell which names exist.
 */
export async function verifyPassword(passwordHash: string | undefined, password: string): Promise<boolean> {
  const matches = await verify(passwordHash ?? NOBODYS_HASH, password);
  return matches && passwordHash !== undefined;
}
