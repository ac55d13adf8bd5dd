import { invalidField } from './parse.js';

/**
 * Two names for one field, from a client that may send a whole object back and have changed either: the one that
 * differs from what is stored is what was meant. Both differing, and from each other, is a contradiction (400).
 */
export function eitherOf<T>(
  stored: T | undefined,
  names: readonly [string, string],
  first: T | undefined,
  second: T | undefined,
): T | undefined {
  if (first === undefined || second === undefined || first === second) return first ?? second;
  if (first === stored) return second;
  if (second === stored) return first;
  throw invalidField(`body.${names[1]}`, `${names[0]} and ${names[1]} are the same field and differ`);
}
