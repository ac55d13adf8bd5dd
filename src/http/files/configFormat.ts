import { isConfigList, isConfigObject, parseConfigValue, type ConfigRoot } from '#src/domain/configValue.js';
import { AppError } from '#src/domain/errors.js';
import { invalidField } from '../parse.js';

/** How files of one kind are read and changed. Texts are those of the file; both throw `invalid-config`. */
export interface ConfigFormat {
  read(text: string): ConfigRoot;
  /**
   * The text with the change merged in (RFC 7396), and as much of the rest as it was as the format allows. A list
   * replaces a list. Throws `invalid-request` for what the format, or this file, cannot hold.
   */
  change(text: string, change: ConfigRoot): string;
}

/** Of what a parser made of a file. Throws `invalid-config` for a lone value. */
export function parseConfigRoot(value: unknown): ConfigRoot {
  const root = parseConfigValue(value, 'invalid-config');
  if (isConfigObject(root) || isConfigList(root)) return root;
  throw new AppError('invalid-config', { detail: 'The file holds neither keys nor a list' });
}

/** A list does not become an object by a change, nor the other way round: that is a mistake, not a wish. */
export function assertSameKind(before: ConfigRoot, change: ConfigRoot): void {
  if (isConfigList(before) === isConfigList(change)) return;
  const detail = isConfigList(before)
    ? 'The file holds a list: send a list, which replaces it'
    : 'The file holds an object: send an object, which is merged into it';
  throw invalidField('body', detail);
}

/** `at`: index into the text. */
export function faultAt(text: string, at: number, what: string): AppError {
  const before = text.slice(0, at).split(/\r\n|\r|\n/);
  const column = (before.at(-1) ?? '').length + 1;
  return new AppError('invalid-config', { detail: `Line ${before.length}, column ${column}: ${what}` });
}
