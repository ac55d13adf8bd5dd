import { posix } from 'node:path';
import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import type { FileContent, FileInfo, FileResponse } from '#proto/gen/agent.js';

interface StoredFile {
  bytes: Buffer;
  modifiedMs: number;
}

/** The host's files as version 1 has them: any path, relative ones from the agent's own folder, nothing checked. */
export class Version1Files {
  readonly #files = new Map<string, StoredFile>();

  constructor(private readonly cwd: string) {}

  /** Offset and length are not even looked at. */
  read(path: string): FileContent {
    const file = this.#files.get(this.#at(path));
    if (!file) throw new Version1Fault(`open ${path}: no such file or directory`);
    const modifiedTime = Math.floor(file.modifiedMs / 1000);
    return { content: file.bytes, size: file.bytes.length, modifiedTime };
  }

  write(path: string, content: Uint8Array, createDirs: boolean): FileResponse {
    const at = this.#at(path);
    if (!createDirs && !this.#isFolder(posix.dirname(at))) {
      return { success: false, message: `open ${path}: no such file or directory` };
    }
    this.put(at, Buffer.from(content));
    return { success: true, message: 'File written successfully' };
  }

  list(path: string): FileInfo[] {
    const folder = this.#at(path);
    if (!this.#isFolder(folder)) throw new Version1Fault(`open ${path}: no such file or directory`);
    const entries = new Map<string, FileInfo>();
    for (const [file, { bytes, modifiedMs }] of this.#files) {
      if (!file.startsWith(`${folder}/`)) continue;
      const [name = '', ...below] = file.slice(folder.length + 1).split('/');
      const isDir = below.length > 0;
      entries.set(name, {
        name,
        path: posix.join(path, name),
        size: isDir ? 4096 : bytes.length,
        isDir,
        modifiedTime: Math.floor(modifiedMs / 1000),
        permissions: isDir ? 0o755 : 0o644,
      });
    }
    return [...entries.values()];
  }

  /** Whether there is such a folder. */
  has(path: string): boolean {
    return this.#isFolder(this.#at(path));
  }

  text(path: string): string | undefined {
    return this.#files.get(this.#at(path))?.bytes.toString();
  }

  put(path: string, bytes: Buffer): void {
    this.#files.set(this.#at(path), { bytes, modifiedMs: Date.now() });
  }

  append(path: string, line: string): void {
    this.put(path, Buffer.from(`${this.text(path) ?? ''}${line}\n`));
  }

  remove(path: string): void {
    this.#files.delete(this.#at(path));
  }

  #isFolder(path: string): boolean {
    return path === this.cwd || [...this.#files.keys()].some(file => file.startsWith(`${path}/`));
  }

  #at(path: string): string {
    return posix.resolve(this.cwd, path);
  }
}

/** What a handler's plain error becomes; `code` where it says more. */
export class Version1Fault extends Error implements StatusObject {
  readonly metadata = new Metadata();

  constructor(
    readonly details: string,
    readonly code: status = status.UNKNOWN,
  ) {
    super(details);
  }
}
