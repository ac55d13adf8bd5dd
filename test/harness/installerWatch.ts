import { readdir, readFile } from 'node:fs/promises';

const LOOK_EVERY_MS = 25;

/** How many installers work below a folder, by the kernel's process table. */
export async function countInstallers(workDir: string): Promise<number> {
  const environments = await Promise.all(
    (await readdir('/proc')).map(pid => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')),
  );
  return environments.filter(environment => environment.includes(`AYMC_INSTALLER=${workDir}`)).length;
}

/** Looks at them all the time, and remembers the most that there were at once. */
export class InstallerWatch {
  most = 0;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | undefined;

  constructor(private readonly workDir: string) {
    this.#timer = setInterval(() => {
      this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    }, LOOK_EVERY_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    this.most = Math.max(this.most, await countInstallers(this.workDir));
  }
}
