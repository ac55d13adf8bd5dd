import { expect } from 'chai';
import { createRedisLimits, type RedisLimits } from '#src/http/redisRateLimiter.js';
import type { RateLimiter } from '#src/http/rateLimiter.js';
import { createLogger } from '#src/observability/logger.js';
import { codeOf, startTestApi } from '#test/harness/api.js';
import { findRedisServer, startRedis, type TestRedis } from '#test/harness/redis.js';
import { waitFor } from '#test/harness/waitFor.js';

const logger = createLogger({ level: 'silent', name: 'limits' });

describe('what a user may ask', function () {
  this.timeout(20_000);

  it('is limited for each user apart, and every answer says how they stand', async () => {
    const api = await startTestApi({ limits: { userPerMinute: 1, userBurst: 5 } });
    try {
      const [busy, other] = [await api.signUp(), await api.signUp()];
      for (let left = 4; left >= 0; left--) {
        const answer = await busy.send('GET /auth/me');
        expect(answer.status).to.equal(200);
        expect(answer.headers.get('ratelimit-limit')).to.equal('5');
        expect(answer.headers.get('ratelimit-remaining')).to.equal(String(left));
      }
      const refused = await busy.send('GET /servers');
      expect(codeOf(refused)).to.equal('429 rate-limited');
      expect(Number(refused.headers.get('retry-after'))).to.be.within(1, 60);
      expect((await other.send('GET /auth/me')).status).to.equal(200);
      expect((await api.send('GET //healthz')).status).to.equal(200);
    } finally {
      await api.close();
    }
  });

  it('comes from where the trusted proxies say it does, and from nowhere else', async () => {
    const login = { username: 'nobody', password: 'x' };
    const guess = (from: string) => ({ body: login, headers: { 'X-Forwarded-For': from } });
    const behind = await startTestApi({ limits: { loginPerIpPerMinute: 2 }, trustedProxies: 1 });
    try {
      // The client made up the first entry; the proxy added the second.
      for (let i = 0; i < 2; i++)
        expect((await behind.send('POST /auth/login', guess(`10.9.9.${i}, 10.0.0.1`))).status).to.equal(401);
      expect((await behind.send('POST /auth/login', guess('10.9.9.9, 10.0.0.1'))).status).to.equal(429);
      expect((await behind.send('POST /auth/login', guess('10.0.0.1, 10.0.0.2'))).status).to.equal(401);
    } finally {
      await behind.close();
    }
    const direct = await startTestApi({ limits: { loginPerIpPerMinute: 2 } });
    try {
      for (let i = 0; i < 2; i++) await direct.send('POST /auth/login', guess(`10.0.0.${i}`));
      expect((await direct.send('POST /auth/login', guess('10.0.0.9'))).status).to.equal(429);
    } finally {
      await direct.close();
    }
  });
});

describe('limits that processes share', function () {
  this.timeout(30_000);
  const binary = findRedisServer();
  let redis: TestRedis;
  const open: RedisLimits[] = [];
  before(async function () {
    if (binary === null) return this.skip();
    redis = await startRedis(binary);
  });
  after(() => redis?.stop());
  afterEach(() => open.splice(0).forEach(limits => limits.close()));

  let names = 0;
  const unique = () => `test-${(names += 1)}`;
  /** As another api process would have it. */
  const anotherProcess = (): RedisLimits => {
    const limits = createRedisLimits({ url: redis.url, logger });
    open.push(limits);
    return limits;
  };
  /** One limiter of two processes, once both of them reach Redis. */
  async function pair(limit: { perMinute: number; burst?: number }): Promise<[RateLimiter, RateLimiter]> {
    const [one, two] = [anotherProcess(), anotherProcess()];
    const make = (each: RedisLimits) => each.create({ name: 'probe', perMinute: 1 });
    const probes: [RateLimiter, RateLimiter] = [make(one), make(two)];
    await waitFor(() => countTogether(probes), { what: 'counts that are shared' });
    const name = unique();
    return [one.create({ name, ...limit }), two.create({ name, ...limit })];
  }

  /** Of a limit of one: what one process takes, the other has not. */
  async function countTogether([one, two]: [RateLimiter, RateLimiter]): Promise<boolean> {
    const key = unique();
    return (await one.take(key)).allowed && !(await two.take(key)).allowed;
  }

  it('never let more through than there is, however many ask at once', async () => {
    const [one, two] = await pair({ perMinute: 1, burst: 50 });
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? one : two).take('key')),
    );
    expect(answers.filter(({ allowed }) => allowed)).to.have.length(50);
    const refused = answers.find(({ allowed }) => !allowed);
    expect(refused).to.include({ limit: 50, remaining: 0 });
    expect(refused?.retryAfterS).to.be.within(55, 60);
  });

  it('refill with time and take back what did not count', async () => {
    const [one, two] = await pair({ perMinute: 600, burst: 1 });
    expect((await one.take('key')).allowed).to.equal(true);
    await one.giveBack('key');
    expect((await two.take('key')).allowed).to.equal(true);
    await waitFor(async () => (await one.take('key')).allowed, { timeoutMs: 2_000, what: 'the next token' });
  });

  it('are each process’s own while Redis is frozen or gone, at no one’s cost, and shared again after', async () => {
    const [one, two] = await pair({ perMinute: 1, burst: 2 });
    redis.freeze(true);
    try {
      const began = performance.now();
      for (const limiter of [one, two]) {
        expect((await limiter.take('k')).allowed).to.equal(true);
        expect((await limiter.take('k')).allowed).to.equal(true);
        expect((await limiter.take('k')).allowed).to.equal(false);
      }
      expect(performance.now() - began).to.be.below(2_000);
    } finally {
      redis.freeze(false);
    }
    await redis.kill();
    expect((await one.take('other')).allowed).to.equal(true);
    await redis.restart();
    const sharedAgain = async () => {
      const key = unique();
      for (let i = 0; i < 2; i++) await one.take(key);
      return !(await two.take(key)).allowed;
    };
    await waitFor(sharedAgain, { timeoutMs: 10_000, what: 'counts that are shared again' });
  });
});
