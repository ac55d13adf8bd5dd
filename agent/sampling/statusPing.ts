import { connect } from 'node:net';
import { errnoOf } from '../errors.js';
import { isJsonRecord, type JsonRecord, numberOf, parseJsonRecord } from '../files.js';

/** What became of a server-list ping. */
export type PingResult =
  | { readonly kind: 'answered'; /** Some plugins hide it. */ readonly playersOnline: number | undefined }
  /** Somebody holds the port open, and says nothing. */
  | { readonly kind: 'silent' }
  /** Nobody listens there. */
  | { readonly kind: 'refused' }
  /** What came is not the whole answer of a Minecraft server; it may also have hung up. */
  | { readonly kind: 'garbage' };

export interface PingAddress {
  readonly host: string;
  readonly port: number;
}

const DEADLINE_MS = 2_000;
/** An icon and the mods of a big modpack stay below this. */
const ANSWER_BYTES_MAX = 256 * 1024;
/** Sent in place of a protocol version by those that don't know which one the server speaks. */
const PROTOCOL_UNKNOWN = -1;
const NEXT_IS_STATUS = 1;
const PING_PAYLOAD = [0, 0, 0, 0, 0, 0, 0, 1];
const INT32_MAX = 2 ** 31 - 1;

/**
 * Asks a server what the server list shows of it (1.7 and later). Never rejects.
 * https://minecraft.wiki/w/Java_Edition_protocol/Server_List_Ping
 */
export function pingStatus({ host, port }: PingAddress, deadlineMs = DEADLINE_MS): Promise<PingResult> {
  return new Promise(resolve => {
    const answer = new StatusAnswer();
    const socket = connect({ host, port });
    let result: PingResult | undefined;
    const settle = (first: PingResult): void => {
      result ??= first;
      resolve(result);
    };
    const deadline = setTimeout(() => {
      settle({ kind: socket.bytesRead === 0 ? 'silent' : 'garbage' });
      socket.destroy();
    }, deadlineMs);
    socket.on('error', error => settle({ kind: isHangUp(error) ? 'garbage' : 'refused' }));
    socket.on('close', () => {
      clearTimeout(deadline);
      settle({ kind: 'garbage' });
    });
    socket.on('data', chunk => {
      const read = result ?? answer.push(chunk);
      if (read === undefined) return;
      settle(read);
      // What is still to come is read and thrown away: a connection that is reset makes some servers log an error.
      if (read.kind === 'answered') socket.end();
      else socket.destroy();
    });
    socket.write(statusRequest(host, port));
  });
}

function isHangUp(error: Error): boolean {
  const errno = errnoOf(error);
  return errno === 'ECONNRESET' || errno === 'EPIPE';
}

/** Handshake, status request, and the ping after it at once: some old servers answer the one only with the other. */
function statusRequest(host: string, port: number): Buffer {
  const name = Buffer.from(host);
  const handshake = [
    ...encodeVarInt(PROTOCOL_UNKNOWN),
    ...encodeVarInt(name.length),
    ...name,
    port >> 8,
    port & 0xff,
    ...encodeVarInt(NEXT_IS_STATUS),
  ];
  return Buffer.from([...packet(0, handshake), ...packet(0, []), ...packet(1, PING_PAYLOAD)]);
}

function packet(id: number, body: readonly number[]): number[] {
  return [...encodeVarInt(1 + body.length), id, ...body];
}

/** Puts an answer together from the pieces it comes in: length, packet id 0, length of a text, that text in JSON. */
export class StatusAnswer {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  /** Of the whole answer, once its first bytes are here. */
  #wanted: number | undefined;

  /** Undefined as long as something is missing. */
  push(chunk: Buffer): PingResult | undefined {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#wanted === undefined) {
      const length = decodeVarInt(Buffer.concat(this.#chunks), 0);
      if (length === undefined) return undefined;
      if (length === 'garbage' || length.value < 0 || length.value > ANSWER_BYTES_MAX)
        return { kind: 'garbage' };
      this.#wanted = length.next + length.value;
    }
    if (this.#bytes < this.#wanted) return undefined;
    return readStatus(Buffer.concat(this.#chunks).subarray(0, this.#wanted));
  }
}

function readStatus(frame: Buffer): PingResult {
  let at = 0;
  const numbers: number[] = [];
  while (numbers.length < 3) {
    const number = decodeVarInt(frame, at);
    if (number === undefined || number === 'garbage') return { kind: 'garbage' };
    numbers.push(number.value);
    at = number.next;
  }
  const [, packetId, textBytes] = numbers;
  if (packetId !== 0 || textBytes !== frame.length - at) return { kind: 'garbage' };
  const status = parseJsonRecord(frame.toString('utf8', at));
  return status ? { kind: 'answered', playersOnline: playersOnline(status) } : { kind: 'garbage' };
}

function playersOnline({ players }: JsonRecord): number | undefined {
  const online = isJsonRecord(players) ? numberOf(players, 'online') : undefined;
  return online !== undefined && Number.isInteger(online) && online >= 0 && online <= INT32_MAX
    ? online
    : undefined;
}

/** Seven bits a byte, the lowest first; the eighth says that more follow. Of 32 bits, so -1 takes five bytes. */
export function encodeVarInt(value: number): number[] {
  const bytes: number[] = [];
  let rest = value >>> 0;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  return [...bytes, rest];
}

/** Undefined when the bytes end within the number. */
export function decodeVarInt(
  bytes: Buffer,
  at: number,
): { readonly value: number; readonly next: number } | 'garbage' | undefined {
  let value = 0;
  for (let i = 0; i < 5; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return undefined;
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return { value, next: at + i + 1 };
  }
  return 'garbage';
}
