import { randomBytes } from 'node:crypto';
import { mkdirSync, statSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { buildServer, buildUser } from '#test/build.js';
import type { Benchmark, Figure } from './lib/figures.js';
import { install, type Installation } from './lib/installation.js';
import { startRealAgent, type RealAgent } from './lib/minecraft.js';
import { memoryOf } from './lib/procfs.js';

const BYTES = 1024 ** 3;
const LOOK_MS = 50;
const MEGABYTE = 1e6;
/** Everything that a first transfer compiles and caches is there before anything is weighed. */
const WARM_UP_BYTES = 64 * 1024 * 1024;

/** A gigabyte up and down through api and agent, whose memory must not know how large the file is. */
export const files: Benchmark = {
  name: 'files',
  about: 'upload and download of 1 GiB through api and agent: growth of their memory, megabytes a second',
  async measure(say) {
    const installation = await install();
    try {
      const api = await installation.start('app');
      const agent = await startRealAgent(installation);
      const serverId = await addServer(installation, agent);
      const url = `${installation.url}/api/v1/servers/${serverId}/files/content?path=`;
      const token = installation.client.token ?? '';
      await upload(`${url}warm-up.bin`, token, WARM_UP_BYTES);
      await download(`${url}warm-up.bin`, token);

      const pids = { api: api.pid, agent: agent.program.pid };
      const up = await weigh(pids, () => upload(`${url}big.bin`, token, BYTES));
      say(`up in ${(up.tookMs / 1000).toFixed(1)} s`);
      const stored = statSync(join(agent.workDir, serverId, 'big.bin')).size;
      if (stored !== BYTES) throw new Error(`${stored} bytes have been stored`);
      const down = await weigh(pids, async () => {
        const received = await download(`${url}big.bin`, token);
        if (received !== BYTES) throw new Error(`${received} bytes have come`);
      });
      say(`down in ${(down.tookMs / 1000).toFixed(1)} s`);
      return [...figuresOf('upload', up), ...figuresOf('download', down)];
    } finally {
      await installation.release();
    }
  },
};

interface Weighed {
  tookMs: number;
  /** Above what it was before, at most, in bytes. */
  grown: Record<'api' | 'agent', number>;
}

async function weigh(pids: Record<'api' | 'agent', number>, work: () => Promise<void>): Promise<Weighed> {
  const before = { api: memoryOf(pids.api).rss, agent: memoryOf(pids.agent).rss };
  const most = { ...before };
  const looking = setInterval(() => {
    most.api = Math.max(most.api, memoryOf(pids.api).rss);
    most.agent = Math.max(most.agent, memoryOf(pids.agent).rss);
  }, LOOK_MS);
  const began = performance.now();
  try {
    await work();
  } finally {
    clearInterval(looking);
  }
  const tookMs = performance.now() - began;
  return { tookMs, grown: { api: most.api - before.api, agent: most.agent - before.agent } };
}

function figuresOf(what: string, { tookMs, grown }: Weighed): Figure[] {
  return [
    { name: `${what} of 1 GiB, MB each second`, value: BYTES / MEGABYTE / (tookMs / 1000), unit: '/s' },
    {
      name: `${what}: RSS growth of api+worker`,
      value: grown.api / MEGABYTE,
      unit: 'MB',
      aim: { atMost: 64 },
    },
    {
      name: `${what}: RSS growth of the agent`,
      value: grown.agent / MEGABYTE,
      unit: 'MB',
      aim: { atMost: 64 },
    },
  ];
}

/** A folder is all that a server's files need. */
async function addServer({ db }: Installation, agent: RealAgent): Promise<string> {
  const owner = await buildUser(db);
  const server = await buildServer(db, { user_id: owner.id, agent_id: agent.rowId });
  mkdirSync(join(agent.workDir, server.id));
  return server.id;
}

async function upload(url: string, token: string, bytes: number): Promise<void> {
  const piece = randomBytes(1024 * 1024);
  const call = open('PUT', url, token, { 'Content-Length': bytes });
  const answered = answerTo(call);
  await pipeline(Readable.from(repeat(piece, bytes)), call);
  const answer = await answered;
  answer.resume();
  if (answer.statusCode !== 200) throw new Error(`the upload was answered ${answer.statusCode}`);
}

async function download(url: string, token: string): Promise<number> {
  const call = open('GET', url, token);
  call.end();
  const answer = await answerTo(call);
  if (answer.statusCode !== 200) throw new Error(`the download was answered ${answer.statusCode}`);
  let received = 0;
  const count = new Writable({
    write(chunk: Buffer, _encoding, done) {
      received += chunk.length;
      done();
    },
  });
  await pipeline(answer, count);
  return received;
}

function open(
  method: string,
  url: string,
  token: string,
  headers: Record<string, number> = {},
): ClientRequest {
  return request(url, { method, headers: { Authorization: `Bearer ${token}`, ...headers } });
}

function answerTo(call: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    call.once('response', resolve);
    call.once('error', reject);
  });
}

function* repeat(piece: Buffer, bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= piece.length)
    yield piece.subarray(0, Math.min(left, piece.length));
}
