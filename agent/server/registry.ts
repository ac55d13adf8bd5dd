import { EventEmitter } from 'node:events';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { type AgentPaths, isServerId } from './paths.js';
import { scanLockHolders } from './process.js';
import { ManagedServer, type ServerDeps } from './server.js';

/** What inotify does not tell (a killed guard, a machine out of watches) is seen this late. */
const LOOK_EVERY_MS = 1_000;
const TRIM_EVERY_MS = 60_000;

/** Every server of this host that has a folder or records. One entry a server, gone when the server is deleted. */
export class Registry extends EventEmitter<{ console: [ManagedServer] }> {
  readonly #servers = new Map<string, ManagedServer>();
  #timers: NodeJS.Timeout[] = [];

  private constructor(
    private readonly paths: AgentPaths,
    private readonly deps: ServerDeps,
  ) {
    super();
    this.setMaxListeners(0);
  }

  /** Finds all servers and takes over those that play on. */
  static async open(paths: AgentPaths, deps: ServerDeps): Promise<Registry> {
    const registry = new Registry(paths, deps);
    await mkdir(paths.servers, { recursive: true });
    const ids = new Set(
      [...(await readdir(paths.servers)), ...(await readdir(paths.workDir))].filter(isServerId),
    );
    const servers = [...ids].map(id => registry.ensure(id));
    await Promise.all(servers.map(server => server.adopt()));
    await registry.adoptForgotten();
    deps.journal.retain(id => ids.has(id));
    registry.#timers = [
      setInterval(() => registry.#lookAtAlive(), LOOK_EVERY_MS).unref(),
      setInterval(() => void registry.#trim(), TRIM_EVERY_MS).unref(),
    ];
    return registry;
  }

  get(id: string): ManagedServer | undefined {
    return this.#servers.get(id);
  }

  ensure(id: string): ManagedServer {
    const known = this.#servers.get(id);
    if (known) return known;
    const server = new ManagedServer(id, this.paths.server(id), this.deps);
    server.on('console', () => this.emit('console', server));
    this.#servers.set(id, server);
    return server;
  }

  /**
   * A known server, or one whose folder someone else has made since; otherwise one that is not listed, for steps whose
   * answer about nothing is `done` or `not installed`.
   */
  async find(id: string): Promise<ManagedServer> {
    const known = this.#servers.get(id);
    if (known) return known;
    const { folder } = this.paths.server(id);
    return (await isFolder(folder))
      ? this.ensure(id)
      : new ManagedServer(id, this.paths.server(id), this.deps);
  }

  all(): ManagedServer[] {
    return [...this.#servers.values()];
  }

  remove(id: string): void {
    const server = this.#servers.get(id);
    server?.markDeleted();
    server?.removeAllListeners();
    this.#servers.delete(id);
    this.deps.journal.retain(known => known !== id);
  }

  /** JVMs that hold our locks while the records say that nothing runs. Answers how many were taken over. */
  async adoptForgotten(): Promise<number> {
    const idle = new Map(
      this.all()
        .filter(server => server.jvm === undefined)
        .map(server => [server.paths.lock, server]),
    );
    if (idle.size === 0) return 0;
    const holders = await scanLockHolders(lock => idle.has(lock));
    let adopted = 0;
    for (const [lock, holder] of holders) if (await idle.get(lock)?.adoptHolder(holder)) adopted++;
    return adopted;
  }

  /** Lets go of everything; guards and JVMs play on. */
  detach(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const server of this.all()) server.detach();
  }

  #lookAtAlive(): void {
    for (const server of this.#servers.values()) {
      if (!server.alive) continue;
      void server.look();
      server.emit('console');
    }
  }

  async #trim(): Promise<void> {
    for (const server of this.all()) {
      if (!server.alive) continue; // a stopped one was trimmed when it was launched
      try {
        await server.trim();
      } catch (error) {
        this.deps.log.warn({ err: error, server_id: server.id }, 'console files could not be trimmed');
      }
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
