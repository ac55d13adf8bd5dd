import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '#src/domain/errors.js';
import { eitherOf } from '#src/http/aliases.js';
import { createLoginLimits } from '#src/http/auth/loginLimits.js';
import { pageHeaders, readPage } from '#src/http/paging.js';
import { createRateLimiter } from '#src/http/rateLimiter.js';

describe('two names for one field', () => {
  const names = ['memory_max', 'ram_max'] as const;
  const either = (stored?: number, first?: number, second?: number) => eitherOf(stored, names, first, second);

  it('the one that differs from what is stored is meant', () => {
    expect(either(1, 1, 2)).to.equal(2);
    expect(either(1, 2, 1)).to.equal(2);
    expect(either(1, 2, 2)).to.equal(2);
    expect(either(1, 1, 1)).to.equal(1);
    expect(either(1, undefined, 2)).to.equal(2);
    expect(either(1, 2)).to.equal(2);
    expect(either(1)).to.equal(undefined);
  });

  it('both differing, or nothing stored to differ from, is a contradiction', () => {
    expect(() => either(1, 2, 3)).to.throw(AppError);
    expect(() => either(undefined, 2, 3)).to.throw(AppError);
  });
});

describe('a rate limit', () => {
  it('lets so many through at once, then one for each part of the minute', () => {
    let time = 0;
    const limiter = createRateLimiter({ perMinute: 6, now: () => time });
    for (let i = 0; i < 6; i++) expect(limiter.take('a').allowed).to.equal(true);
    const refused = limiter.take('a');
    expect(refused).to.include({ allowed: false, limit: 6, remaining: 0, retryAfterS: 10, resetS: 60 });
    expect(limiter.take('b').allowed).to.equal(true);
    time = 9_999;
    expect(limiter.take('a').allowed).to.equal(false);
    time = 10_001;
    expect(limiter.take('a').allowed).to.equal(true);
    expect(limiter.take('a').allowed).to.equal(false);
  });

  it('promises in Retry-After what it keeps', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 600 }),
        fc.array(fc.nat(30_000), { maxLength: 50 }),
        (perMinute, pauses) => {
          let time = 0;
          const limiter = createRateLimiter({ perMinute, now: () => time });
          for (const pause of pauses) {
            time += pause;
            const { allowed, retryAfterS } = limiter.take('a');
            if (allowed) continue;
            time += retryAfterS * 1000;
            expect(limiter.take('a').allowed).to.equal(true);
          }
        },
      ),
    );
  });

  it('forgets the quietest account first and never grows without end', () => {
    const limiter = createRateLimiter({ perMinute: 1, now: () => 0 });
    limiter.take('old');
    for (let i = 0; i < 20_000; i++) limiter.take(`account-${i}`);
    expect(limiter.take('old').allowed).to.equal(true);
    expect(limiter.take('account-19999').allowed).to.equal(false);
  });

  it('of logins counts the wrong ones only, by account in any case of letters', () => {
    const limits = createLoginLimits({ loginPerAccountPerMinute: 2, loginPerIpPerMinute: 100, now: () => 0 });
    for (let i = 0; i < 10; i++) {
      limits.attempt('Steve', '10.0.0.1');
      limits.succeeded('steve');
    }
    limits.attempt('steve', '10.0.0.1');
    limits.attempt('STEVE', '10.0.0.2');
    expect(() => limits.attempt('steve', '10.0.0.3')).to.throw(AppError, 'rate-limited');
  });
});

describe('pages', () => {
  const url = (query: string) => ({ path: '/api/v1/servers', query: new URLSearchParams(query) });
  const rels = (link: string) => [...link.matchAll(/rel="(\w+)"/g)].map(([, rel]) => rel);

  it('are counted from one, or by offset', () => {
    expect(readPage({})).to.deep.equal({ limit: 20, offset: 0 });
    expect(readPage({}, 500)).to.deep.equal({ limit: 500, offset: 0 });
    expect(readPage({ page: 3 })).to.deep.equal({ limit: 20, offset: 40 });
    expect(readPage({ per_page: 7 })).to.deep.equal({ limit: 7, offset: 0 });
    expect(readPage({ limit: 7, offset: 9 })).to.deep.equal({ limit: 7, offset: 9 });
  });

  it('link to where there is something, and keep the filters', () => {
    const middle = pageHeaders(url('status=running&page=2&per_page=10'), { limit: 10, offset: 10 }, 25);
    expect(rels(middle['Link'] ?? '')).to.deep.equal(['first', 'prev', 'next', 'last']);
    expect(middle['Link']).to.include('</api/v1/servers?status=running&page=3&per_page=10>; rel="next"');
    expect(rels(pageHeaders(url(''), { limit: 500, offset: 0 }, 3)['Link'] ?? '')).to.deep.equal([
      'first',
      'last',
    ]);
    expect(rels(pageHeaders(url(''), { limit: 20, offset: 0 }, 0)['Link'] ?? '')).to.deep.equal([
      'first',
      'last',
    ]);
  });

  it('followed by their links visit every row once', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 300 }),
        fc.integer({ min: 1, max: 100 }),
        fc.boolean(),
        (total, size, byPage) => {
          const seen: number[] = [];
          let query: string | undefined = byPage ? `page=1&per_page=${size}` : `offset=0&limit=${size}`;
          while (query !== undefined) {
            const asked = url(query);
            const page = readPage(
              Object.fromEntries([...asked.query].map(([key, value]) => [key, Number(value)])),
            );
            for (let i = page.offset; i < Math.min(total, page.offset + page.limit); i++) seen.push(i);
            const { Link = '' } = pageHeaders(asked, page, total);
            query = /<[^?]+\?([^>]+)>; rel="next"/.exec(Link)?.[1];
          }
          expect(seen).to.deep.equal(Array.from({ length: total }, (_, i) => i));
        },
      ),
    );
  });
});
