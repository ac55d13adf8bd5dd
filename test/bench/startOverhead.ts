import { join } from 'node:path';
import { startMinecraftServer } from '#test/harness/minecraftServer.js';
import { connectSocket, statusData, type SocketClient } from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';
import { median, spreadOf, type Benchmark } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';
import { installMinecraft, startRealAgent, type InstalledServer, type RealAgent } from './lib/minecraft.js';

const PAIRS = 9;
const READY = /: Done \([\d.]+s\)! For help/;
const READY_TIMEOUT_MS = 60_000;
/** Finer than what is to be told apart. */
const LOOK_MS = 2;

/**
 * Bare: from the spawn of the JVM to its `Done` line. Ours: from the POST to the message on a socket that the server is
 * running, which a guard, an agent, a workflow and three recorded steps lie between. The same jar, flags, folder and
 * world, by turns.
 */
export const startOverhead: Benchmark = {
  name: 'start-overhead',
  about: 'POST start → running seen, over the boot of the same Minecraft server by hand',
  async measure(say) {
    const installation = await install();
    try {
      await installation.start('app');
      const agent = await startRealAgent(installation);
      const server = await installMinecraft(installation, agent);
      const { client, url } = installation;
      const socket = await connectSocket(url, { token: client.token ?? '' });
      await socket.subscribe([`server:${server.id}:status`]);
      await startOurs(installation, socket, server);
      await startBare(agent, server);

      const bare: number[] = [];
      const ours: number[] = [];
      for (let pair = 1; pair <= PAIRS; pair++) {
        bare.push(await startBare(agent, server));
        ours.push(await startOurs(installation, socket, server));
        say(`pair ${pair}: bare ${bare.at(-1)?.toFixed(0)} ms, ours ${ours.at(-1)?.toFixed(0)} ms`);
      }
      socket.close();
      const overheads = ours.map((value, at) => value - (bare[at] ?? NaN));
      return [
        { name: 'boot of the bare JVM', value: median(bare), unit: 'ms', note: spreadOf(bare) },
        { name: 'POST start → running seen', value: median(ours), unit: 'ms', note: spreadOf(ours) },
        {
          name: 'start overhead, median of pairs',
          value: median(overheads),
          unit: 'ms',
          aim: { atMost: 300 },
          note: spreadOf(overheads),
        },
      ];
    } finally {
      await installation.release();
    }
  },
};

async function startBare({ javaHome }: RealAgent, { jar, folder, port }: InstalledServer): Promise<number> {
  const began = performance.now();
  const bare = await startMinecraftServer({ jar, javaBin: join(javaHome, 'bin/java'), dir: folder, port });
  await waitFor(() => bare.lines.some(line => READY.test(line)), {
    timeoutMs: READY_TIMEOUT_MS,
    everyMs: LOOK_MS,
    what: 'the bare server to be ready',
  });
  const tookMs = performance.now() - began;
  bare.command('stop');
  await bare.exited;
  return tookMs;
}

async function startOurs(
  { client, succeeded }: Installation,
  socket: SocketClient,
  { id }: InstalledServer,
): Promise<number> {
  const running = (): number =>
    statusData(socket.messages).filter(({ status }) => status === 'running').length;
  const before = running();
  const began = performance.now();
  const { operation } = await client.act(id, 'start');
  await waitFor(() => running() > before, {
    timeoutMs: READY_TIMEOUT_MS,
    everyMs: LOOK_MS,
    what: 'the message that the server is running',
  });
  const tookMs = performance.now() - began;
  await succeeded([operation.id]);
  const stop = await client.act(id, 'stop');
  await succeeded([stop.operation.id]);
  return tookMs;
}
