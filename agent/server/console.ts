import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { AgentError, errnoOf, isMissing } from '../errors.js';

/** With its newline: what a FIFO takes whole or not at all (PIPE_BUF). */
const COMMAND_BYTES_MAX = 4096;

/**
 * Writes one command line to a server's console. Never blocks: a server that does not read its console fills the FIFO,
 * and then this throws `console-busy`. The line arrives whole or not at all. The caller knows that the server is alive.
 */
export async function writeConsole(fifoPath: string, command: string): Promise<void> {
  if (/[\r\n\0]/.test(command)) {
    throw new AgentError('invalid-request', 'a command is one line: no line breaks, no NUL');
  }
  const line = Buffer.from(`${command}\n`);
  if (line.length > COMMAND_BYTES_MAX) {
    throw new AgentError('invalid-request', `a command has at most ${COMMAND_BYTES_MAX - 1} bytes`);
  }
  let fifo: FileHandle | undefined;
  try {
    fifo = await open(fifoPath, constants.O_WRONLY | constants.O_NONBLOCK);
    await fifo.write(line);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EAGAIN' || errno === 'ENXIO' || errno === 'EPIPE') {
      throw new AgentError('console-busy', 'the server does not read its console', { cause: error });
    }
    if (isMissing(error))
      throw new AgentError('server-not-running', 'the server is not running', { cause: error });
    throw error;
  } finally {
    await fifo?.close();
  }
}

/** A longer line is split, and each piece but the last ends in this mark. */
export const LINE_BYTES_MAX = 16 * 1024;
export const SPLIT_MARK = ' […]';

const NEWLINE = 0x0a;

export interface ConsolePiece {
  readonly lines: string[];
  /** Where each of them begins, in bytes of the console. */
  readonly starts: number[];
  /** Of the first byte, and of the byte to go on at. Equal when there is no whole line yet. */
  readonly offset: number;
  readonly nextOffset: number;
}

export interface ReadRange {
  readonly offset: number;
  readonly maxBytes: number;
  /** The run is over: what stands after the last newline is a line too. */
  readonly ended: boolean;
}

/**
 * The whole lines of a console file from an offset on, as many as fit into `maxBytes` (at least LINE_BYTES_MAX). An
 * unterminated last line waits for its newline, or for the end of the run.
 */
export async function readConsole(
  path: string,
  { offset, maxBytes, ended }: ReadRange,
): Promise<ConsolePiece> {
  const bytes = await readBytes(path, offset, Math.max(maxBytes, LINE_BYTES_MAX + 1));
  const atEnd = bytes.length < Math.max(maxBytes, LINE_BYTES_MAX + 1);
  const lines: string[] = [];
  const starts: number[] = [];
  let from = 0;
  while (from < bytes.length) {
    const newline = bytes.indexOf(NEWLINE, from);
    const to = newline === -1 ? bytes.length : newline;
    const begin = offset + from;
    if (to - from > LINE_BYTES_MAX) {
      const cut = from + splitLength(bytes.subarray(from, from + LINE_BYTES_MAX));
      lines.push(bytes.toString('utf8', from, cut) + SPLIT_MARK);
      from = cut;
    } else if (newline !== -1) {
      lines.push(textOfLine(bytes, from, newline));
      from = newline + 1;
    } else if (ended && atEnd) {
      lines.push(textOfLine(bytes, from, to));
      from = to;
    } else {
      break;
    }
    starts.push(begin);
  }
  return { lines, starts, offset, nextOffset: offset + from };
}

/** Where a reader begins that wants only what is to come: after the last newline of what is there. */
export async function endOfWholeLines(path: string, size: number): Promise<number> {
  const from = Math.max(0, size - LINE_BYTES_MAX);
  const bytes = await readBytes(path, from, size - from);
  const newline = bytes.lastIndexOf(NEWLINE);
  return newline === -1 ? from : from + newline + 1;
}

/** Where a reader begins that wants the last lines within `bytes`, for a look at how a run ended. */
export async function readConsoleTail(path: string, size: number, bytes: number): Promise<string[]> {
  const from = Math.max(0, size - bytes);
  const lines = (await readBytes(path, from, size - from)).toString('utf8').split(/\r?\n/);
  return from === 0 ? lines : lines.slice(1);
}

function textOfLine(bytes: Buffer, from: number, to: number): string {
  return bytes.toString('utf8', from, to > from && bytes[to - 1] === 0x0d ? to - 1 : to);
}

/** Length of the longest piece that does not end within a UTF-8 character. */
function splitLength(piece: Buffer): number {
  let start = piece.length - 1;
  while (start > piece.length - 4 && isContinuation(piece[start])) start--;
  const lead = piece[start] ?? 0;
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  return start + length > piece.length ? start : piece.length;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

async function readBytes(path: string, offset: number, length: number): Promise<Buffer> {
  if (length <= 0) return Buffer.alloc(0);
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (isMissing(error)) return Buffer.alloc(0); // the run has not written yet
    throw error;
  }
  try {
    const { size } = await file.stat();
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
