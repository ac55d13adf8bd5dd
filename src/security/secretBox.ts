import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { AppError } from '#src/domain/errors.js';

/** Names the format and the key; a new one gets a new prefix, so that old rows can still be opened. */
const VERSION = 'v1';
const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** The key for secrets at rest. Derived, so that a leaked database is worthless without the control plane's secret. */
export function deriveSecretKey(jwtSecret: KeyObject): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', jwtSecret, '', `aymc/secret-box/${VERSION}`, 32)));
}

/** `v1.<base64url of iv, tag, ciphertext>`; never the same twice. */
export function sealSecret(key: KeyObject, plain: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, key, iv);
  const sealed = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()]);
  return `${VERSION}.${Buffer.concat([iv, cipher.getAuthTag(), sealed]).toString('base64url')}`;
}

/** Rejects with `internal` what was tampered with or sealed by another key: JWT_SECRET was changed. */
export function openSecret(key: KeyObject, sealed: string): string {
  const [version, payload] = sealed.split('.', 2);
  if (version !== VERSION || payload === undefined) throw unreadable(undefined);
  const bytes = Buffer.from(payload, 'base64url');
  if (bytes.length < IV_BYTES + TAG_BYTES) throw unreadable(undefined);
  try {
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, IV_BYTES));
    decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
    const plain = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
    return plain.toString('utf8');
  } catch (error) {
    throw unreadable(error);
  }
}

function unreadable(cause: unknown): AppError {
  return new AppError('internal', {
    detail: 'A stored secret cannot be read; it was sealed under another JWT_SECRET.',
    cause,
  });
}
