import { createHash } from 'node:crypto';
import {
  FileKind,
  type BeginUpload,
  type DownloadChunk,
  type DownloadFileRequest,
  type FileContent,
  type FileFacts,
  type FileInfo,
  type FilePath,
  type FileResponse,
  type RenameFileRequest,
  type UploadedFile,
  type UploadPart,
} from '#proto/gen/agent.js';
import { Fault } from './fault.js';

const CHUNK_BYTES = 256 * 1024;

/** Null = a folder. */
interface Entry {
  bytes: Buffer | null;
  modifiedMs: number;
  version: number;
}

/** Servers' files in memory, each server's under its id; every server has a folder. */
export class FakeFiles {
  readonly #entries = new Map<string, Entry>();
  #lastVersion = 0;

  list(folder: FilePath): FileFacts[] {
    const key = keyOf(folder);
    if (folder.path !== '' && this.#entries.get(key)?.bytes !== null) throw new Fault('file-not-found');
    return [...this.#entries]
      .filter(([path]) => parentOf(path) === key)
      .map(([path, entry]) => factsOf(path, entry))
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  download({ file, offset, length }: DownloadFileRequest): DownloadChunk[] {
    const { key, entry, bytes } = this.#fileAt(file);
    const begin = Math.max(0, offset < 0 ? bytes.length + offset : offset);
    const end = length === 0 ? bytes.length : Math.min(bytes.length, begin + length);
    const data = bytes.subarray(begin, Math.max(begin, end));
    const opened = { facts: factsOf(key, entry), offset: begin, length: data.length };
    const chunks: DownloadChunk[] = [{ chunk: { $case: 'opened', opened } }];
    for (let at = 0; at < data.length; at += CHUNK_BYTES) {
      chunks.push({ chunk: { $case: 'data', data: data.subarray(at, at + CHUNK_BYTES) } });
    }
    return chunks;
  }

  async upload(parts: AsyncIterable<UploadPart>): Promise<UploadedFile> {
    let begin: BeginUpload | undefined;
    const data: Uint8Array[] = [];
    for await (const { part } of parts) {
      if (part?.$case === 'begin') this.#assertExpected((begin = part.begin));
      else if (part?.$case === 'data') data.push(part.data);
      else if (part?.$case === 'end' && begin) return this.#put(begin, Buffer.concat(data));
    }
    throw new Fault('cancelled');
  }

  remove(file: FilePath): void {
    const key = innerKeyOf(file);
    if (!this.#entries.has(key)) throw new Fault('file-not-found');
    for (const path of this.#entries.keys()) {
      if (path === key || path.startsWith(`${key}/`)) this.#entries.delete(path);
    }
  }

  makeFolder(file: FilePath): FileFacts {
    const key = innerKeyOf(file);
    if (this.#entries.has(key)) throw new Fault('file-exists');
    this.#makeParents(key);
    return factsOf(key, this.#set(key, null));
  }

  rename({ from, to }: RenameFileRequest): FileFacts {
    const source = innerKeyOf(from);
    const target = innerKeyOf({ serverId: from?.serverId ?? '', path: to });
    if (!this.#entries.has(source)) throw new Fault('file-not-found');
    if (this.#entries.has(target)) throw new Fault('file-exists');
    for (const [path, entry] of this.#entries) {
      if (path !== source && !path.startsWith(`${source}/`)) continue;
      this.#entries.delete(path);
      this.#entries.set(target + path.slice(source.length), entry);
    }
    return factsOf(target, this.#entries.get(target) ?? this.#set(target, null));
  }

  // ---- as version 1 has it: paths are the host's, below the folder that the row names.

  readWhole(path: string): FileContent {
    const entry = this.#entries.get(keyOfHostPath(path));
    if (!entry?.bytes) throw new Fault('agent-failed', `open ${path}: no such file or directory`);
    const modifiedTime = Math.floor(entry.modifiedMs / 1000);
    return { content: entry.bytes, size: entry.bytes.length, modifiedTime };
  }

  writeWhole(path: string, content: Uint8Array, createDirs: boolean): FileResponse {
    const key = keyOfHostPath(path);
    if (createDirs) this.#makeParents(key);
    this.#set(key, Buffer.from(content));
    return { success: true, message: 'ok' };
  }

  listWhole(path: string): FileInfo[] {
    const key = keyOfHostPath(path);
    return [...this.#entries]
      .filter(([child]) => parentOf(child) === key)
      .map(([child, { bytes, modifiedMs }]) => ({
        name: nameOf(child),
        path: `${path}/${nameOf(child)}`,
        size: bytes?.length ?? 4096,
        isDir: bytes === null,
        modifiedTime: Math.floor(modifiedMs / 1000),
        permissions: bytes === null ? 0o755 : 0o644,
      }));
  }

  #put(begin: BeginUpload, bytes: Buffer): UploadedFile {
    this.#assertExpected(begin);
    const key = innerKeyOf(begin.file);
    if (begin.createFolders) this.#makeParents(key);
    const facts = factsOf(key, this.#set(key, bytes));
    return { facts, sha256: createHash('sha256').update(bytes).digest('hex') };
  }

  #assertExpected({ file, expected, createFolders }: BeginUpload): void {
    const key = innerKeyOf(file);
    const current = this.#entries.get(key);
    if (expected?.$case === 'nothing' && current) throw new Fault('precondition-failed');
    if (expected?.$case === 'etag' && (!current || factsOf(key, current).etag !== expected.etag)) {
      throw new Fault('precondition-failed');
    }
    if (current?.bytes === null) throw new Fault('invalid-path');
    const parent = parentOf(key);
    if (!createFolders && parent.includes('/') && !this.#entries.has(parent))
      throw new Fault('file-not-found');
  }

  #fileAt(file: FilePath | undefined): { key: string; entry: Entry; bytes: Buffer } {
    const key = innerKeyOf(file);
    const entry = this.#entries.get(key);
    if (!entry) throw new Fault('file-not-found');
    if (entry.bytes === null) throw new Fault('invalid-path');
    return { key, entry, bytes: entry.bytes };
  }

  #makeParents(key: string): void {
    const parent = parentOf(key);
    if (!parent.includes('/') || this.#entries.has(parent)) return;
    this.#makeParents(parent);
    this.#set(parent, null);
  }

  #set(key: string, bytes: Buffer | null): Entry {
    const entry = { bytes, modifiedMs: Date.now(), version: ++this.#lastVersion };
    this.#entries.set(key, entry);
    return entry;
  }
}

function keyOf(file: FilePath | undefined): string {
  const parts = (file?.path ?? '').split('/').filter(part => part !== '' && part !== '.');
  if (file === undefined || file.path.startsWith('/') || file.path.includes('\0') || parts.includes('..')) {
    throw new Fault('invalid-path');
  }
  return [file.serverId, ...parts].join('/');
}

function innerKeyOf(file: FilePath | undefined): string {
  const key = keyOf(file);
  if (!key.includes('/')) throw new Fault('invalid-path');
  return key;
}

/** From the server's id on, whatever folder the servers are in. */
function keyOfHostPath(path: string): string {
  return /[0-9a-f]{8}-[0-9a-f-]{27}.*$/.exec(path)?.[0] ?? path;
}

function parentOf(key: string): string {
  return key.slice(0, Math.max(0, key.lastIndexOf('/')));
}

function nameOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

function factsOf(key: string, { bytes, modifiedMs, version }: Entry): FileFacts {
  return {
    path: key.slice(key.indexOf('/') + 1),
    kind: bytes === null ? FileKind.FOLDER : FileKind.FILE,
    sizeBytes: bytes?.length ?? 0,
    modifiedMs,
    permissions: bytes === null ? 0o755 : 0o644,
    etag: bytes === null ? '' : `v${version}`,
  };
}
