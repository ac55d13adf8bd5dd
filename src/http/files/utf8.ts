import { AppError } from '#src/domain/errors.js';
import type { ConfigFormat } from './configFormat.js';

/** A format of texts, for a file that is one byte a character. Throws `invalid-config` for what is no UTF-8. */
export function inUtf8(format: ConfigFormat): ConfigFormat {
  return {
    read: bytes => format.read(decode(bytes)),
    change: (bytes, change) => encode(format.change(decode(bytes), change)),
  };
}

function decode(latin1: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(latin1, 'latin1'));
  } catch (error) {
    throw new AppError('invalid-config', { detail: 'The file is no text in UTF-8', cause: error });
  }
}

function encode(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
