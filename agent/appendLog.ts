import { open, type FileHandle } from 'node:fs/promises';
import { parseJsonRecord, writeFileDurably, type JsonRecord } from './files.js';

interface Pending {
  readonly line: string;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

/**
 * A file of JSON lines that is only appended to. An append resolves once it is on disk; appends made while one is being
 * written share the next fdatasync. Order is kept. A line torn by a crash is dropped at the next open. Bounding the
 * file is the owner's: it calls `rewrite` with what is still worth keeping.
 */
export class AppendLog {
  #queue: Pending[] = [];
  #flushing: Promise<void> | undefined;
  /** A failed append may have let a piece through: the next one begins on a line of its own. */
  #torn = false;

  private constructor(
    private readonly path: string,
    private file: FileHandle,
    private lines: number,
  ) {}

  static async open(path: string): Promise<{ log: AppendLog; records: JsonRecord[] }> {
    const file = await open(path, 'a+', 0o600);
    const content = await file.readFile();
    const length = content.lastIndexOf(0x0a) + 1;
    if (length < content.length) await file.truncate(length);
    const lines = content.subarray(0, length).toString('utf8').split('\n').slice(0, -1);
    const records = lines.map(parseJsonRecord).filter(record => record !== undefined);
    return { log: new AppendLog(path, file, lines.length), records };
  }

  /** How many lines the file has: the owner's measure of when to rewrite. */
  get size(): number {
    return this.lines;
  }

  append(record: JsonRecord): Promise<void> {
    const line = `${JSON.stringify(record)}\n`;
    const written = new Promise<void>((done, failed) => this.#queue.push({ line, done, failed }));
    this.#flushing ??= this.#flush();
    return written;
  }

  /** Replaces all that was appended so far; waits for appends under way and holds back later ones. */
  async rewrite(records: () => readonly JsonRecord[]): Promise<void> {
    while (this.#flushing) await this.#flushing;
    this.#flushing = this.#replace(records()).finally(() => {
      this.#flushing = this.#queue.length > 0 ? this.#flush() : undefined;
    });
    await this.#flushing;
  }

  async close(): Promise<void> {
    while (this.#flushing) await this.#flushing;
    await this.file.close();
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        await this.file.appendFile((this.#torn ? '\n' : '') + batch.map(pending => pending.line).join(''));
        await this.file.datasync();
        this.#torn = false;
        this.lines += batch.length;
        for (const pending of batch) pending.done();
      } catch (error) {
        this.#torn = true;
        for (const pending of batch) pending.failed(error);
      }
    }
    this.#flushing = undefined;
  }

  async #replace(records: readonly JsonRecord[]): Promise<void> {
    const content = Buffer.from(records.map(record => `${JSON.stringify(record)}\n`).join(''));
    await writeFileDurably(this.path, content, 0o600);
    const old = this.file;
    this.file = await open(this.path, 'a', 0o600);
    this.#torn = false;
    this.lines = records.length;
    await old.close();
  }
}
