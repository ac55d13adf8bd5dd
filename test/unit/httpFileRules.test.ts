import { once } from 'node:events';
import { connect } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
import Koa from 'koa';
import { AppError } from '#src/domain/errors.js';
import { fileNameOf, parseFilePath, parseInnerPath } from '#src/domain/filePath.js';
import type { ApiState } from '#src/http/context.js';
import { streamedBody } from '#src/http/bodies.js';
import { createHttpServer } from '#src/http/app.js';
import { entityTag, isNamed, isNamedStrongly, parseRange } from '#src/http/files/conditions.js';
import { attachment, contentTypeOf } from '#src/http/files/contentType.js';
import { createTransfers } from '#src/http/files/transfers.js';

const thrownBy = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
};

describe('a path within a server’s folder', () => {
  it('is tidied, and a leading slash means that folder', () => {
    expect(parseFilePath('/plugins//./a.yml/')).to.equal('plugins/a.yml');
    expect(parseFilePath('/')).to.equal('');
    expect(fileNameOf('plugins/a.yml')).to.equal('a.yml');
    expect(fileNameOf('a.yml')).to.equal('a.yml');
    for (const path of ['..', 'a/..', 'a\0', '\ud800', 'é'.repeat(128), 'a/'.repeat(2_100)]) {
      expect(
        thrownBy(() => parseFilePath(path)),
        path.slice(0, 20),
      ).to.equal('invalid-path');
    }
    expect(thrownBy(() => parseInnerPath('/.'))).to.equal('invalid-path');
  });

  it('whatever is asked for, has no way up and is tidy', () => {
    const part = fc.oneof(fc.constantFrom('..', '.', '', '/', 'a', '...', '\0'), fc.string({ maxLength: 5 }));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), parts => {
        const path = parts.join('/');
        if (thrownBy(() => parseFilePath(path)) !== undefined) return;
        const tidied = parseFilePath(path);
        expect(tidied.split('/')).to.not.include.members(['..']);
        expect(tidied.startsWith('/')).to.equal(false);
        expect(parseFilePath(tidied)).to.equal(tidied);
      }),
    );
  });
});

describe('conditions of a request', () => {
  it('name files by their tags, weakly or strongly', () => {
    expect(isNamed(undefined, 'a')).to.equal(false);
    expect(isNamed('*', 'a')).to.equal(true);
    expect(isNamed('"b", W/"a"', 'a')).to.equal(true);
    expect(isNamed('a', 'a')).to.equal(false);
    expect(isNamedStrongly('W/"a"', 'a')).to.equal(false);
    expect(isNamedStrongly(` ${entityTag('a')} `, 'a')).to.equal(true);
  });

  it('ask for one range, or are not understood and get the whole', () => {
    expect(parseRange('bytes=0-0')).to.deep.equal({ offset: 0, length: 1 });
    expect(parseRange('bytes=5-')).to.deep.equal({ offset: 5, length: 0 });
    expect(parseRange('bytes=-5')).to.deep.equal({ offset: -5, length: 0 });
    for (const header of [undefined, 'bytes=-', 'bytes=2-1', 'bytes=0-1,3-4', 'bytes=a-b', 'items=0-1']) {
      expect(parseRange(header), header).to.equal(undefined);
    }
    expect(thrownBy(() => parseRange('bytes=-0'))).to.equal('range-not-satisfiable');
  });
});

describe('what a browser is told of a file', () => {
  it('is a type by its extension, and a name that breaks out of no header', () => {
    expect(contentTypeOf('server.PROPERTIES')).to.match(/^text\/plain/);
    expect(contentTypeOf('evil.html')).to.equal('application/octet-stream');
    expect(contentTypeOf('a.constructor')).to.equal('application/octet-stream');
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), name => {
        expect(attachment(name)).to.match(
          /^attachment; filename="[^"\\\r\n]*"; filename\*=UTF-8''[\w.!~%-]*$/,
        );
      }),
    );
  });
});

describe('places for transfers', () => {
  it('are limited for each user and for all, and are given back once', () => {
    const transfers = createTransfers({ perUser: 2, inAll: 3 });
    const first = transfers.begin('a');
    transfers.begin('a');
    expect(thrownBy(() => transfers.begin('a'))).to.equal('too-many-transfers');
    transfers.begin('b');
    expect(thrownBy(() => transfers.begin('c'))).to.equal('too-many-transfers');
    first();
    first();
    transfers.begin('c');
    expect(thrownBy(() => transfers.begin('a'))).to.equal('too-many-transfers');
  });
});

describe('a body that is read as it arrives', () => {
  /** Sends the head of a PUT and then, every so often, one byte. Answers what was thrown at the reader. */
  async function endOf(contentLength: number, everyMs: number): Promise<string> {
    const app = new Koa<ApiState>();
    let thrown = 'nothing';
    const body = streamedBody({ type: '*/*', maxBytes: 10, idleMs: 150 });
    app.use(async ctx => {
      try {
        for await (const chunk of (await body.read(ctx)).bytes) void chunk;
      } catch (error) {
        thrown = error instanceof AppError ? error.code : String(error);
      }
      ctx.status = 204;
    });
    const server = createHttpServer(app).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the server got no port');
    const socket = connect(address.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${contentLength}\r\n\r\n`);
    const drops = setInterval(() => socket.write('x'), everyMs);
    await once(socket, 'data');
    clearInterval(drops);
    socket.destroy();
    server.close();
    return thrown;
  }

  it('is given up when nothing comes, and when it comes in drops', async () => {
    expect(await endOf(5, 10_000), 'silence').to.equal('request-timeout');
    expect(await endOf(9, 60), 'drops').to.equal('request-timeout');
  });

  it('is refused at once when it says that it is too large, and taken when it is not', async () => {
    expect(await endOf(11, 1)).to.equal('body-too-large');
    expect(await endOf(5, 1)).to.equal('nothing');
  });
});
