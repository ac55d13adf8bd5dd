import { createServer, type Server, type Socket } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
import { freePort } from '#processes/dev/ports.js';
import { decodeVarInt, encodeVarInt, pingStatus, StatusAnswer } from '../../agent/sampling/statusPing.js';
import { Turns } from '../../agent/sampling/turns.js';

const STATUS =
  '{"version":{"name":"Paper 1.21.1","protocol":767},"players":{"max":20,"online":7},"description":"§ä"}';

function packet(text: string, id = 0): Buffer {
  const body = Buffer.from(text);
  const rest = Buffer.concat([Buffer.from([id, ...encodeVarInt(body.length)]), body]);
  return Buffer.concat([Buffer.from(encodeVarInt(rest.length)), rest]);
}

describe('agent server-list ping', () => {
  let server: Server | undefined;
  const sockets = new Set<Socket>();

  /** A listener that does this with everyone who comes; answers its port. */
  async function listen(serve: (socket: Socket) => void): Promise<number> {
    const port = await freePort();
    server = createServer({ allowHalfOpen: true }, socket => {
      sockets.add(socket.on('error', () => undefined));
      serve(socket);
    });
    const listening = server;
    await new Promise<void>(resolve => listening.listen(port, '127.0.0.1', resolve));
    return port;
  }

  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    server?.close();
    server = undefined;
  });

  const ping = (port: number, deadlineMs?: number) => pingStatus({ host: '127.0.0.1', port }, deadlineMs);
  const answering = (bytes: Buffer | string) =>
    listen(socket => socket.once('data', () => socket.write(bytes)));

  it('writes numbers of 32 bits as the protocol does, and reads them back', () => {
    expect(encodeVarInt(-1)).to.deep.equal([0xff, 0xff, 0xff, 0xff, 0x0f]);
    expect(encodeVarInt(25565)).to.deep.equal([0xdd, 0xc7, 0x01]);
    fc.assert(
      fc.property(fc.integer(), value => {
        const bytes = encodeVarInt(value);
        expect(decodeVarInt(Buffer.from(bytes), 0)).to.deep.equal({ value, next: bytes.length });
        expect(decodeVarInt(Buffer.from(bytes.slice(0, -1)), 0)).to.equal(undefined);
      }),
    );
    expect(decodeVarInt(Buffer.alloc(9, 0xff), 0)).to.equal('garbage');
  });

  it('asks for the status in the words of the protocol', async () => {
    let asked = Buffer.alloc(0);
    const port = await listen(socket =>
      socket.on('data', chunk => {
        asked = Buffer.concat([asked, chunk]);
        socket.write(packet(STATUS));
      }),
    );
    await ping(port);
    const handshake = [
      0,
      0xff,
      0xff,
      0xff,
      0xff,
      0x0f,
      9,
      ...Buffer.from('127.0.0.1'),
      port >> 8,
      port & 0xff,
      1,
    ];
    const pong = [9, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    expect([...asked]).to.deep.equal([handshake.length, ...handshake, 1, 0, ...pong]);
  });

  it('counts the players, however the answer is cut into pieces', async () => {
    const bytes = packet(STATUS);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: bytes.length }), { maxLength: 20 }), cuts => {
        const answer = new StatusAnswer();
        const at = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const results = at.slice(1).map((to, index) => answer.push(bytes.subarray(at[index], to)));
        expect(results.at(-1)).to.deep.equal({ kind: 'answered', playersOnline: 7 });
      }),
    );
    expect(await ping(await answering(bytes))).to.deep.equal({ kind: 'answered', playersOnline: 7 });
  });

  it('hangs up in order, so that the server has nothing to complain about', async () => {
    const over = new Promise<string>(resolve => {
      void listen(socket => {
        socket.once('data', () => socket.write(packet(STATUS)));
        socket.once('end', () => setTimeout(() => socket.end(packet('the pong, late', 1)), 20));
        socket.once('error', error => resolve(error.message));
        socket.once('close', () => resolve('closed'));
      }).then(port => ping(port));
    });
    expect(await over).to.equal('closed');
  });

  it('knows no count where the server hides it or makes one up', async () => {
    for (const players of ['null', '{}', '{"online":-1}', '{"online":1e99}', '{"online":"7"}']) {
      const result = new StatusAnswer().push(packet(`{"players":${players}}`));
      expect(result, players).to.deep.equal({ kind: 'answered', playersOnline: undefined });
    }
  });

  it('takes for garbage what is not the answer of a Minecraft server', async () => {
    const cases = {
      'another protocol': 'SSH-2.0-OpenSSH_9.2p1\r\n',
      'no JSON': packet('{"players":'),
      'JSON, but no object': packet('[7]'),
      'another packet': packet(STATUS, 1),
      'a text longer than its packet': Buffer.from([3, 0, 0x7f, 0x41]),
      'a length without end': Buffer.alloc(16, 0xff),
      'a negative length': Buffer.from(encodeVarInt(-5)),
      'more than we take': Buffer.from(encodeVarInt(10_000_000)),
      'deeply nested JSON': packet('['.repeat(100_000)),
    };
    for (const [what, bytes] of Object.entries(cases)) {
      const result = await ping(await answering(bytes), 500);
      server?.close();
      expect(result, what).to.deep.equal({ kind: 'garbage' });
    }
  });

  it('reads no more than it has to of an answer that never ends', async () => {
    let sent = 0;
    const port = await listen(socket => {
      socket.write(Buffer.from(encodeVarInt(256 * 1024)));
      const flood = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024))) sent += 64 * 1024;
      };
      socket.on('drain', flood);
      flood();
    });
    expect((await ping(port)).kind).to.equal('garbage');
    expect(sent).to.be.lessThan(16 * 1024 * 1024);
  });

  it('waits for nobody longer than its deadline: not for the silent, not for those that drip', async () => {
    const servers = { silent: () => undefined, garbage: drip };
    for (const [kind, serve] of Object.entries(servers)) {
      const port = await listen(serve);
      const begin = performance.now();
      expect(await ping(port, 200)).to.deep.equal({ kind });
      expect(performance.now() - begin).to.be.within(190, 1_500);
      server?.close();
    }
  });

  it('tells a port where nobody listens from one that hangs up', async () => {
    expect(await ping(await freePort())).to.deep.equal({ kind: 'refused' });
    expect(await ping(await listen(socket => socket.end()))).to.deep.equal({ kind: 'garbage' });
    server?.close();
    expect(await ping(await listen(socket => socket.resetAndDestroy()))).to.deep.equal({ kind: 'garbage' });
  });

  it('lets a few go at once, the others in the order of their coming', async () => {
    const turns = new Turns(2);
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    const tasks = [0, 1, 2, 3].map(nth =>
      turns.take(async () => {
        begun.push(nth);
        await new Promise<void>(resolve => ends.push(resolve));
        if (nth === 0) throw new Error('the first one breaks');
      }),
    );
    const settled = Promise.allSettled(tasks);
    await new Promise(setImmediate);
    expect(begun).to.deep.equal([0, 1]);
    for (let nth = 0; nth < 4; nth++) {
      ends[nth]?.();
      await new Promise(setImmediate);
    }
    expect(begun).to.deep.equal([0, 1, 2, 3]);
    expect((await settled).map(({ status }) => status === 'fulfilled')).to.deep.equal([
      false,
      true,
      true,
      true,
    ]);
  });
});

function drip(socket: Socket): void {
  const bytes = packet(STATUS);
  let at = 0;
  const timer = setInterval(() => socket.write(bytes.subarray(at, ++at)), 20);
  socket.once('close', () => clearInterval(timer));
}
