import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/** RFC 6238 as every authenticator app does it: HMAC-SHA-1, six digits, steps of 30 s. */
const STEP_MS = 30_000;
const DIGITS = 6;
/** Clocks of phones differ, and people type slowly. */
const WINDOW = 1;
const SECRET_BYTES = 20;

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** 160 random bits in base32, as RFC 4226 recommends and apps expect. */
export function newTotpSecret(): string {
  return encodeBase32(randomBytes(SECRET_BYTES));
}

/** What a QR code for authenticator apps holds: https://github.com/google/google-authenticator/wiki/Key-Uri-Format */
export function totpUri(secret: string, username: string): string {
  const label = encodeURIComponent(`AYMC:${username}`);
  return `otpauth://totp/${label}?secret=${secret}&issuer=AYMC&algorithm=SHA1&digits=${DIGITS}&period=30`;
}

/** The time step whose code this is, of the present one and its neighbours; null when it is none of theirs. */
export function matchTotp(secret: string, code: string, nowMs: number = Date.now()): number | null {
  const key = decodeBase32(secret);
  const present = Math.floor(nowMs / STEP_MS);
  for (let step = present - WINDOW; step <= present + WINDOW; step++) {
    if (sameText(codeOfStep(key, step), code)) return step;
  }
  return null;
}

/** What an app shows at that time. */
export function totpCode(secret: string, atMs: number = Date.now()): string {
  return codeOfStep(decodeBase32(secret), Math.floor(atMs / STEP_MS));
}

/** RFC 4226 §5.3. */
function codeOfStep(key: Buffer, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', key).update(counter).digest();
  const offset = mac.readUInt8(mac.length - 1) & 0xf;
  const number = mac.readUInt32BE(offset) & 0x7fff_ffff;
  return String(number % 10 ** DIGITS).padStart(DIGITS, '0');
}

function sameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** 80 random bits, for a person to copy: `ABCD-EFGH-IJKL-MNOP`. Random enough to be stored by a plain hash. */
export function newRecoveryCode(): string {
  return encodeBase32(randomBytes(10)).replace(/(.{4})(?=.)/g, '$1-');
}

/** As it is hashed: however it was typed. */
export function normalRecoveryCode(typed: string): string {
  return typed.toUpperCase().replace(/[^A-Z2-7]/g, '');
}

/** RFC 4648 §6, without padding. */
function encodeBase32(bytes: Buffer): string {
  const bits = [...bytes].map(byte => byte.toString(2).padStart(8, '0')).join('');
  return (bits.match(/.{1,5}/g) ?? [])
    .map(group => BASE32.charAt(Number.parseInt(group.padEnd(5, '0'), 2)))
    .join('');
}

function decodeBase32(text: string): Buffer {
  const bits = text.replace(/./g, char => BASE32.indexOf(char).toString(2).padStart(5, '0'));
  return Buffer.from((bits.match(/.{8}/g) ?? []).map(byte => Number.parseInt(byte, 2)));
}
