import { watch } from 'node:fs';
import { join } from 'node:path';

/** Editors save in several steps, and a checkout changes many files. */
const SETTLE_MS = 300;

interface Deps {
  readonly root: string;
  readonly folders: readonly string[];
  /** Called once the files have been quiet for a moment; never twice at the same time. */
  readonly changed: () => Promise<void>;
  readonly signal: AbortSignal;
}

/** Watches sources until `signal` aborts. A change during `changed` leads to one more call after it. */
export function watchSources({ root, folders, changed, signal }: Deps): void {
  let timer: NodeJS.Timeout | undefined;
  let busy = false;
  let again = false;
  const run = async (): Promise<void> => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    await changed();
    busy = false;
    if (again) settle();
    again = false;
  };
  const settle = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => void run(), SETTLE_MS);
  };
  const watchers = folders.map(folder =>
    watch(join(root, folder), { recursive: true }, (_event, file) => {
      if (file === null || /\.(ts|sh|proto)$/.test(file)) settle();
    }),
  );
  const stop = (): void => {
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  };
  signal.addEventListener('abort', stop, { once: true });
}
