import { storeConsole } from '#src/db/consoleStorage.js';
import { joinEntries } from '#src/domain/consoleEntry.js';
import { encodeCursor } from '#src/contracts/cursor.js';
import { buildServer } from '#test/build.js';
import { connectSocket } from '#test/harness/socketClient.js';
import { waitFor } from '#test/harness/waitFor.js';
import { median, spreadOf, type Benchmark } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';
import { cpuSecondsOf } from './lib/procfs.js';

const LINES = 10_000;
const ROUNDS = 15;

/** What a client that comes back with an old cursor is sent before it is shown the present; all by an api alone. */
export const consoleDelivery: Benchmark = {
  name: 'consoleDelivery',
  about: 'stored console lines sent to one socket a second, and by processor time of the api',
  async measure(say) {
    const installation = await install();
    try {
      const api = await installation.start('api');
      const id = await printed(installation);
      const perSecond: number[] = [];
      const perCore: number[] = [];
      for (let round = 0; round <= ROUNDS; round++) {
        const before = cpuSecondsOf(api.pid);
        const { lines, seconds } = await catchUp(installation, id);
        const busy = cpuSecondsOf(api.pid) - before;
        if (round === 0) continue; // warms up
        perSecond.push(lines / seconds);
        perCore.push(lines / busy);
      }
      say(`${ROUNDS} times up to ${LINES} lines`);
      return [
        { name: 'lines sent to a socket', value: median(perSecond), unit: '/s', note: spreadOf(perSecond) },
        {
          name: 'lines sent to a socket, per core of the api',
          value: median(perCore),
          unit: '/s',
          note: spreadOf(perCore),
        },
      ];
    } finally {
      await installation.release();
    }
  },
};

/** A server whose console has printed LINES lines. */
async function printed({ db }: Installation): Promise<string> {
  const { id } = await buildServer(db);
  for (let n = 0; n < LINES; n += 1000) {
    const lines = Array.from(
      { length: 1000 },
      (_, at) => `[12:00:00] [Server thread/INFO]: line ${n + at} of the console`,
    );
    const entries = joinEntries(lines);
    await storeConsole(db, { server_id: id, run_id: 'r', from: n, to: n + 1000, at_ms: Date.now(), entries });
  }
  return id;
}

async function catchUp(
  { url, client }: Installation,
  id: string,
): Promise<{ lines: number; seconds: number }> {
  const socket = await connectSocket(url, { token: client.token ?? '' });
  const channel = `server:${id}:logs`;
  const began = performance.now();
  let last = '';
  socket.socket.on('message', ({ data }) => (last = JSON.stringify(data)));
  await socket.subscribe([channel], { [channel]: encodeCursor(0) });
  await waitFor(() => last.includes(`line ${LINES - 1} of`), {
    timeoutMs: 30_000,
    everyMs: 5,
    what: 'the last line',
  });
  const seconds = (performance.now() - began) / 1000;
  const lines = socket.messages.filter(({ type }) => type === 'log_entry').length;
  socket.close();
  return { lines, seconds };
}
