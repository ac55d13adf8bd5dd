import { open, type FileHandle } from 'node:fs/promises';
import { inflateRawSync } from 'node:zlib';

/**
 * Just enough of the zip format to look into a jar without unpacking it: the central directory and single small
 * entries. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (4.3.7, 4.3.12, 4.3.16). No zip64: a jar that
 * needs it counts as unreadable.
 */

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_OF_CENTRAL = 0x06054b50;
const END_BYTES = 22;
const COMMENT_BYTES_MAX = 0xffff;
const DIRECTORY_BYTES_MAX = 32 * 1024 * 1024;
const ENTRY_BYTES_MAX = 4 * 1024 * 1024;
const DEFLATED = 8;

interface Entry {
  readonly method: number;
  readonly compressedBytes: number;
  readonly headerOffset: number;
}

interface Directory {
  readonly bytes: Buffer;
  readonly entries: number;
}

/** Whether the file has the frame of a zip: what a download must at least be. */
export async function isJar(path: string): Promise<boolean> {
  return (await withJar(path, async (_file, directory) => directory.entries > 0)) ?? false;
}

/** Content of an entry; undefined when there is none, or the file is no jar. */
export async function readJarEntry(path: string, name: string): Promise<Buffer | undefined> {
  return withJar(path, async (file, directory) => {
    const entry = findEntry(directory, name);
    return entry && readEntry(file, entry);
  });
}

/**
 * The Java version that the main class of a jar was compiled for; undefined when it can't be told. A lower bound:
 * launchers are often compiled for an older Java than what they load.
 */
export async function requiredJavaMajor(path: string): Promise<number | undefined> {
  return withJar(path, async (file, directory) => {
    const manifestEntry = findEntry(directory, 'META-INF/MANIFEST.MF');
    const manifest = manifestEntry && (await readEntry(file, manifestEntry))?.toString('utf8');
    const mainClass = manifest && /^Main-Class: *([\w.$]+)/m.exec(manifest.replace(/\r?\n /g, ''))?.[1];
    if (!mainClass) return undefined;
    const classEntry = findEntry(directory, `${mainClass.replaceAll('.', '/')}.class`);
    const bytes = classEntry && (await readEntry(file, classEntry));
    // JVMS 4.1: magic, minor, major; major = Java + 44.
    if (!bytes || bytes.length < 8 || bytes.readUInt32BE(0) !== 0xcafebabe) return undefined;
    return bytes.readUInt16BE(6) - 44;
  });
}

/** Undefined when the file is not there, or no zip, or its records contradict each other. */
async function withJar<T>(
  path: string,
  look: (file: FileHandle, directory: Directory) => Promise<T>,
): Promise<T | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const directory = await readDirectory(file);
    return directory && (await look(file, directory));
  } catch {
    return undefined;
  } finally {
    await file?.close();
  }
}

async function readDirectory(file: FileHandle): Promise<Directory | undefined> {
  const { size } = await file.stat();
  const tail = await readAt(
    file,
    Math.max(0, size - END_BYTES - COMMENT_BYTES_MAX),
    END_BYTES + COMMENT_BYTES_MAX,
  );
  for (let at = tail.length - END_BYTES; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== END_OF_CENTRAL) continue;
    const entries = tail.readUInt16LE(at + 10);
    const length = tail.readUInt32LE(at + 12);
    const offset = tail.readUInt32LE(at + 16);
    if (length > DIRECTORY_BYTES_MAX || offset + length > size) return undefined;
    const bytes = await readAt(file, offset, length);
    if (entries > 0 && bytes.readUInt32LE(0) !== CENTRAL_HEADER) return undefined;
    return { bytes, entries };
  }
  return undefined;
}

function findEntry({ bytes }: Directory, name: string): Entry | undefined {
  const wanted = Buffer.from(name);
  for (let at = 0; at + 46 <= bytes.length && bytes.readUInt32LE(at) === CENTRAL_HEADER;) {
    const nameLength = bytes.readUInt16LE(at + 28);
    if (bytes.subarray(at + 46, at + 46 + nameLength).equals(wanted)) {
      return {
        method: bytes.readUInt16LE(at + 10),
        compressedBytes: bytes.readUInt32LE(at + 20),
        headerOffset: bytes.readUInt32LE(at + 42),
      };
    }
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return undefined;
}

async function readEntry(file: FileHandle, entry: Entry): Promise<Buffer | undefined> {
  if (entry.compressedBytes > ENTRY_BYTES_MAX) return undefined;
  const header = await readAt(file, entry.headerOffset, 30);
  if (header.readUInt32LE(0) !== LOCAL_HEADER) return undefined;
  const start = entry.headerOffset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  const content = await readAt(file, start, entry.compressedBytes);
  return entry.method === DEFLATED ? inflateRawSync(content, { maxOutputLength: ENTRY_BYTES_MAX }) : content;
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, offset);
  return bytes.subarray(0, bytesRead);
}
