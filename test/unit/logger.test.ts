import { expect } from 'chai';
import { createLogger, scrub } from '#src/observability/logger.js';

function logged(...args: [object, string?]): Record<string, unknown> {
  const lines: string[] = [];
  const logger = createLogger({
    level: 'debug',
    name: 'test',
    destination: { write: line => lines.push(line) },
  });
  logger.info(...args);
  expect(lines).to.have.length(1);
  const line: unknown = JSON.parse(lines[0] ?? '');
  return { ...(typeof line === 'object' ? line : {}) };
}

describe('logger', () => {
  it('writes one JSON line with the process, the level as a word and an ISO time', () => {
    const line = logged({ server: 'x' }, 'started');
    expect(line).to.include({ name: 'test', level: 'info', msg: 'started', server: 'x' });
    expect(new Date(String(line['time'])).toISOString()).to.equal(line['time']);
  });

  it('hides secrets by their name at any depth, and leaves the rest alone', () => {
    const line = logged({
      a: { b: { c: { d: { password: 'p"w\\', accessToken: 'abc' } } } },
      headers: { authorization: 'Bearer abcdefghijkl', 'set-cookie': ['a=b', 'c=d'], accept: '*/*' },
      JWT_SECRET: 'zzz',
      tokens: 12,
    });
    expect(line['a']).to.deep.equal({
      b: { c: { d: { password: '[redacted]', accessToken: '[redacted]' } } },
    });
    expect(line['headers']).to.deep.equal({
      authorization: '[redacted]',
      'set-cookie': '[redacted]',
      accept: '*/*',
    });
    expect(line).to.include({ JWT_SECRET: '[redacted]', tokens: 12 });
  });

  it('hides logins and signatures in URLs, wherever they stand', () => {
    const line = logged(
      {
        jar_url: 'https://me:pw@host/x.jar?X-Amz-Signature=abc&part=1',
        err: new Error('no postgres://u:secret@db/x'),
      },
      'GET /api/v1/ws?token=eyJhbGciOi',
    );
    expect(line['jar_url']).to.equal('https://[redacted]@host/x.jar?X-Amz-Signature=[redacted]&part=1');
    expect(line['msg']).to.equal('GET /api/v1/ws?token=[redacted]');
    expect(JSON.stringify(line)).not.to.include('u:secret');
  });

  it('hides secrets in a body that was logged as text', () => {
    const body = JSON.stringify({ password: 'a"b', user: 'x' });
    expect(logged({ body })['body']).to.equal('{"password":"[redacted]","user":"x"}');
  });

  it('keeps every line parseable', () => {
    const nasty = {
      token: '\\',
      secret: '"',
      body: JSON.stringify({ token: '"\\"' }),
      x: ['"token":"', '\\"token\\":'],
    };
    expect(() => JSON.parse(scrub(JSON.stringify(nasty))) as unknown).not.to.throw();
  });
});
