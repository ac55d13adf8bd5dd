import { expect } from 'chai';
import fc from 'fast-check';
import { AppError } from '#src/domain/errors.js';
import { eitherOf } from '#src/http/aliases.js';
import { createLoginLimits } from '#src/http/auth/loginLimits.js';
import { pageHeaders, readPage } from '#src/http/paging.js';
import { createRateLimiter, type RateLimit } from '#src/http/rateLimiter.js';
import { rejectionCode } from '#test/harness/rejection.js';

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
  const limiterAt = (limit: Omit<RateLimit, 'name'>, now: () => number) =>
    createRateLimiter({ name: 'test', ...limit }, now);

  it('lets so many through at once, then one for each part of the minute', async () => {
    let time = 0;
    const limiter = limiterAt({ perMinute: 6 }, () => time);
    for (let i = 0; i < 6; i++) expect((await limiter.take('a')).allowed).to.equal(true);
    const refused = await limiter.take('a');
    expect(refused).to.include({ allowed: false, limit: 6, remaining: 0, retryAfterS: 10, resetS: 60 });
    expect((await limiter.take('b')).allowed).to.equal(true);
    time = 9_999;
    expect((await limiter.take('a')).allowed).to.equal(false);
    time = 10_001;
    expect((await limiter.take('a')).allowed).to.equal(true);
    expect((await limiter.take('a')).allowed).to.equal(false);
  });

  it('may hold less at once than it gives in a minute', async () => {
    let time = 0;
    const limiter = limiterAt({ perMinute: 3_000, burst: 300 }, () => time);
    for (let i = 0; i < 300; i++) expect((await limiter.take('a')).allowed).to.equal(true);
    expect(await limiter.take('a')).to.include({ allowed: false, limit: 300, retryAfterS: 1, resetS: 6 });
    time = 60_000;
    for (let i = 0; i < 300; i++) expect((await limiter.take('a')).allowed).to.equal(true);
    expect((await limiter.take('a')).allowed).to.equal(false);
  });

  it('promises in Retry-After what it keeps', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 600 }),
        fc.array(fc.nat(30_000), { maxLength: 50 }),
        async (perMinute, pauses) => {
          let time = 0;
          const limiter = limiterAt({ perMinute }, () => time);
          for (const pause of pauses) {
            time += pause;
            const { allowed, retryAfterS } = await limiter.take('a');
            if (allowed) continue;
            time += retryAfterS * 1000;
            expect((await limiter.take('a')).allowed).to.equal(true);
          }
        },
      ),
    );
  });

  it('forgets the quietest account first and never grows without end', async () => {
    const limiter = limiterAt({ perMinute: 1 }, () => 0);
    await limiter.take('old');
    for (let i = 0; i < 20_000; i++) await limiter.take(`account-${i}`);
    expect((await limiter.take('old')).allowed).to.equal(true);
    expect((await limiter.take('account-19999')).allowed).to.equal(false);
  });
});

describe('the limits of logins', () => {
  let time = 0;
  beforeEach(() => {
    time = 0;
  });
  const limitsOf = (loginPerAccountPerMinute: number) =>
    createLoginLimits({ loginPerAccountPerMinute, loginPerIpPerMinute: 1_000 }, limit =>
      createRateLimiter(limit, () => time),
    );
  const from = (ip: string, knownAddress = false) => ({ account: 'u1', ip, knownAddress });

  it('count the wrong ones only, of one account from wherever they come', async () => {
    const limits = limitsOf(2);
    for (let i = 0; i < 10; i++) {
      await limits.attempt(from('10.0.0.1'));
      await limits.succeeded(from('10.0.0.1'));
    }
    await limits.attempt(from('10.0.0.1'));
    await limits.attempt(from('10.0.0.2'));
    expect(await rejectionCode(limits.attempt(from('10.0.0.3')))).to.equal('rate-limited');
  });

  it('keep nobody from an account of theirs at a place where they were before, whatever strangers do', async () => {
    const limits = limitsOf(5);
    for (let i = 0; i < 200; i++) await limits.attempt(from(`10.0.0.${i}`)).catch(() => undefined);
    await limits.attempt(from('192.0.2.1', true));
    expect(await rejectionCode(limits.attempt(from('192.0.2.9')))).to.equal('rate-limited');
  });

  it('slow down who goes on guessing for hours, and let go again by themselves', async () => {
    const limits = limitsOf(10);
    let guesses = 0;
    for (let minute = 0; minute < 24 * 60; minute++) {
      time = minute * 60_000;
      for (let i = 0; i < 10; i++) {
        const allowed = await limits.attempt(from('10.0.0.1')).then(
          () => true,
          () => false,
        );
        if (allowed) guesses += 1;
      }
    }
    expect(guesses).to.be.within(200, 280);
    time += 6 * 60_000;
    await limits.attempt(from('10.0.0.1'));
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
