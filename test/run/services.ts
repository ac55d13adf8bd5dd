import { join } from 'node:path';
import { startPostgres } from '#processes/dev/postgresServer.js';
import type { Service } from '#processes/dev/service.js';
import { startTemporal } from '#processes/dev/temporalServer.js';
import type { Say } from '#processes/dev/tools.js';
import { buildMinecraftJar } from '../harness/minecraftJar.js';
import { installMinecraftClient } from '../harness/minecraftClient.js';
import type { Need } from './suites.js';

export interface Services {
  /** Sets up what is named, each thing once, and answers the variables by which tests find it. */
  provide(needs: readonly Need[]): Promise<NodeJS.ProcessEnv>;
  stop(): Promise<void>;
}

/** What suites share. Nothing starts before somebody needs it; `signal` ends starts that are under way. */
export function createServices(folder: string, say: Say, signal: AbortSignal): Services {
  const running: Service[] = [];
  const providers: Record<Need, () => Promise<NodeJS.ProcessEnv>> = {
    async postgres() {
      const server = await startPostgres({ dataDir: join(folder, 'postgres'), fsync: false, say, signal });
      running.push(server);
      return { TEST_DATABASE_URL: server.url };
    },
    async temporal() {
      const server = await startTemporal({ dataDir: join(folder, 'temporal'), say, signal });
      running.push(server);
      return { TEST_TEMPORAL_ADDRESS: server.address };
    },
    async minecraft() {
      await Promise.all([buildMinecraftJar(), installMinecraftClient()]);
      return {};
    },
  };
  const provided = new Map<Need, Promise<NodeJS.ProcessEnv>>();
  const provide = (need: Need): Promise<NodeJS.ProcessEnv> => {
    const promise = provided.get(need) ?? providers[need]();
    provided.set(need, promise);
    return promise;
  };
  return {
    async provide(needs) {
      const parts = await Promise.all(needs.map(provide));
      return parts.reduce((all, part) => ({ ...all, ...part }), {});
    },
    async stop() {
      await Promise.allSettled(provided.values());
      await Promise.all(running.map(service => service.stop()));
    },
  };
}
