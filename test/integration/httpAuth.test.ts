import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import { hashToken } from '#src/security/tokens.js';
import { buildUser, TEST_PASSWORD } from '#test/build.js';
import { waitFor } from '#test/harness/waitFor.js';
import { codeOf, objectOf, startTestApi, textAt, valueAt, type TestApi } from '#test/harness/api.js';

describe('accounts and sessions', function () {
  this.timeout(20_000);
  let api: TestApi;
  before(async () => {
    api = await startTestApi();
  });
  after(() => api.close());

  const login = (username: string, password = TEST_PASSWORD) =>
    api.send('POST /auth/login', { body: { username, password } });
  const refresh = (token: string) => api.send('POST /auth/refresh', { body: { refresh_token: token } });
  const me = (token: string) => api.send('GET /auth/me', { token });

  describe('register', () => {
    it('makes a plain user who can sign in', async () => {
      const body = { username: 'Steve_1', email: 'Steve@Example.com', password: 'long enough' };
      const made = await api.send('POST /auth/register', { body });
      expect(made.status).to.equal(201);
      expect(made.body).to.include({
        username: 'Steve_1',
        email: 'steve@example.com',
        role: 'user',
        is_active: true,
      });
      expect(JSON.stringify(made.body)).to.not.include('password');
      expect((await login('Steve_1', 'long enough')).status).to.equal(200);
    });

    it('refuses a role, and makes nobody', async () => {
      const body = {
        username: 'mallory',
        email: 'mallory@example.com',
        password: 'long enough',
        role: 'admin',
      };
      const refused = await api.send('POST /auth/register', { body });
      expect(codeOf(refused)).to.equal('400 invalid-request');
      expect(valueAt(refused, 'errors.0.path')).to.equal('body.role');
      expect(codeOf(await login('mallory', 'long enough'))).to.equal('401 invalid-credentials');
    });

    it('names every field that is wrong', async () => {
      const refused = await api.send('POST /auth/register', {
        body: { username: 'a b', email: 'nope', password: 'short' },
      });
      expect(refused.status).to.equal(400);
      const paths = [0, 1, 2].map(i => valueAt(refused, `errors.${i}.path`));
      expect(paths).to.have.members(['body.username', 'body.email', 'body.password']);
    });

    it('refuses a username or address that is taken, in any case of letters', async () => {
      await buildUser(api.db, { username: 'taken', email: 'taken@example.com' });
      const attempt = (username: string, email: string) =>
        api.send('POST /auth/register', { body: { username, email, password: 'long enough' } });
      expect(codeOf(await attempt('taken', 'a@example.com'))).to.equal('409 name-taken');
      expect(codeOf(await attempt('Taken', 'a@example.com'))).to.equal('409 name-taken');
      expect(codeOf(await attempt('other', 'TAKEN@example.com'))).to.equal('409 email-taken');
    });

    it('is closed where the operator closed it', async () => {
      const closed = await startTestApi({ auth: { registration: 'closed' } });
      try {
        const body = { username: 'steve', email: 'steve@example.com', password: 'long enough' };
        expect(codeOf(await closed.send('POST /auth/register', { body }))).to.equal(
          '403 registration-closed',
        );
      } finally {
        await closed.close();
      }
    });
  });

  describe('login', () => {
    it('takes a username or an email address and answers what existing clients read', async () => {
      const user = await buildUser(api.db);
      const byName = await login(user.username);
      expect(byName.status).to.equal(200);
      expect(valueAt(byName, 'token')).to.equal(valueAt(byName, 'access_token'));
      expect(byName.body).to.include({ token_type: 'Bearer', expires_in: 3600 });
      expect(valueAt(byName, 'user.id')).to.equal(user.id);
      expect(valueAt(byName, 'user.last_login')).to.be.a('string');
      const byEmail = await api.send('POST /auth/login', {
        body: { email: user.email.toUpperCase(), password: TEST_PASSWORD },
      });
      expect(byEmail.status).to.equal(200);
      expect((await login(user.email)).status).to.equal(200);
    });

    it('answers an unknown account like a wrong password', async () => {
      const user = await buildUser(api.db);
      const wrong = await login(user.username, 'not it at all');
      const unknown = await login('nobody-by-that-name', 'not it at all');
      expect(codeOf(wrong)).to.equal('401 invalid-credentials');
      expect(wrong.headers.get('www-authenticate')).to.match(/^Bearer/);
      const { request_id: _one, ...said } = objectOf(wrong);
      const { request_id: _other, ...saidToo } = objectOf(unknown);
      expect(saidToo).to.deep.equal(said);
    });

    it('tells a disabled account so only to who knows its password', async () => {
      const user = await buildUser(api.db, { is_active: false });
      expect(codeOf(await login(user.username))).to.equal('401 account-disabled');
      expect(codeOf(await login(user.username, 'not it at all'))).to.equal('401 invalid-credentials');
    });

    it('wants exactly one of username and email', async () => {
      for (const names of [{}, { username: 'a', email: 'b@example.com' }]) {
        const answer = await api.send('POST /auth/login', { body: { ...names, password: 'x' } });
        expect(codeOf(answer)).to.equal('400 invalid-request');
      }
    });

    it('slows down guessing on one account, known or not, and says for how long', async () => {
      const limited = await startTestApi({
        limits: { loginPerAccountPerMinute: 3, loginPerIpPerMinute: 100 },
      });
      try {
        const guess = (username: string, password: string) =>
          limited.send('POST /auth/login', { body: { username, password } });
        const user = await buildUser(limited.db);
        for (const name of [user.username, 'nobody-by-that-name']) {
          for (let i = 0; i < 3; i++) expect((await guess(name, 'wrong')).status).to.equal(401);
          const refused = await guess(name, 'wrong');
          expect(codeOf(refused)).to.equal('429 rate-limited');
          expect(Number(refused.headers.get('retry-after'))).to.be.within(1, 20);
          expect(refused.headers.get('ratelimit-limit')).to.equal('3');
          expect(refused.headers.get('ratelimit-remaining')).to.equal('0');
        }
        const other = await buildUser(limited.db);
        for (let i = 0; i < 5; i++) expect((await guess(other.username, TEST_PASSWORD)).status).to.equal(200);
      } finally {
        await limited.close();
      }
    });

    it('counts guesses so that nobody learns from the counts which names exist', async () => {
      const limited = await startTestApi({
        limits: { loginPerAccountPerMinute: 3, loginPerIpPerMinute: 100 },
      });
      try {
        const user = await buildUser(limited.db, { username: 'steve' });
        const counts = async (names: string[]) => {
          const answers = [];
          for (const username of names)
            answers.push(
              codeOf(await limited.send('POST /auth/login', { body: { username, password: 'wrong' } })),
            );
          return answers;
        };
        const spelt = (name: string) => [name, name, name, name.toUpperCase()];
        expect(await counts(spelt('steve'))).to.deep.equal(await counts(spelt('nobody')));
        expect(await counts([user.email])).to.deep.equal(['401 invalid-credentials']);
      } finally {
        await limited.close();
      }
    });

    it('slows down guessing from one address over many accounts', async () => {
      const limited = await startTestApi({
        limits: { loginPerAccountPerMinute: 10, loginPerIpPerMinute: 4 },
      });
      try {
        const guess = (i: number) =>
          limited.send('POST /auth/login', { body: { username: `u${i}`, password: 'x' } });
        for (let i = 0; i < 4; i++) expect((await guess(i)).status).to.equal(401);
        expect((await guess(5)).status).to.equal(429);
      } finally {
        await limited.close();
      }
    });
  });

  describe('refresh', () => {
    const signIn = async () => login((await buildUser(api.db)).username);
    const age = (token: string, seconds: number) =>
      rows(
        api.db,
        `UPDATE sessions SET replaced_at = replaced_at - $2 * interval '1 second' WHERE token_hash = $1 RETURNING id`,
        {
          bind: [hashToken(token), seconds],
        },
      );

    it('rotates: new tokens each time, of the same session', async () => {
      const first = await signIn();
      const second = await refresh(textAt(first, 'refresh_token'));
      expect(second.status).to.equal(200);
      expect(Object.keys(objectOf(second))).to.have.members(Object.keys(objectOf(first)));
      expect(valueAt(second, 'refresh_token')).to.not.equal(valueAt(first, 'refresh_token'));
      const third = await refresh(textAt(second, 'refresh_token'));
      for (const answer of [first, second, third])
        expect((await me(textAt(answer, 'token'))).status).to.equal(200);
    });

    it('takes the token that was just replaced once more: its answer may have been lost', async () => {
      const first = textAt(await signIn(), 'refresh_token');
      const lost = await refresh(first);
      await age(first, 58);
      const again = await refresh(first);
      expect(again.status).to.equal(200);
      for (const answer of [lost, again]) {
        expect((await refresh(textAt(answer, 'refresh_token'))).status).to.equal(200);
      }
    });

    it('ends all tokens of a login when a replaced one comes back late', async () => {
      const first = await signIn();
      const second = await refresh(textAt(first, 'refresh_token'));
      await age(textAt(first, 'refresh_token'), 61);
      const reused = await refresh(textAt(first, 'refresh_token'));
      expect(codeOf(reused)).to.equal('401 token-reused');
      expect(codeOf(await refresh(textAt(second, 'refresh_token')))).to.equal('401 unauthenticated');
      const { n } = (await row<{ n: number }>(
        api.db,
        'SELECT count(*)::int AS n FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.id = $1 AND s.revoked_at IS NULL',
        { bind: [valueAt(first, 'user.id')] },
      )) ?? { n: -1 };
      expect(n).to.equal(0);
    });

    it('leaves other logins of the same user alone when one family ends', async () => {
      const user = await buildUser(api.db);
      const laptop = await login(user.username);
      const phone = await login(user.username);
      await refresh(textAt(laptop, 'refresh_token'));
      await age(textAt(laptop, 'refresh_token'), 61);
      await refresh(textAt(laptop, 'refresh_token'));
      expect((await refresh(textAt(phone, 'refresh_token'))).status).to.equal(200);
    });

    it('refuses unknown and expired tokens, and those of a disabled account', async () => {
      expect(codeOf(await refresh('no-such-token'))).to.equal('401 unauthenticated');
      const expired = textAt(await signIn(), 'refresh_token');
      await rows(
        api.db,
        `UPDATE sessions SET expires_at = now() - interval '1 second' WHERE token_hash = $1 RETURNING id`,
        {
          bind: [hashToken(expired)],
        },
      );
      expect(codeOf(await refresh(expired))).to.equal('401 unauthenticated');
      const disabled = await signIn();
      await rows(api.db, 'UPDATE users SET is_active = false WHERE id = $1 RETURNING id', {
        bind: [valueAt(disabled, 'user.id')],
      });
      expect(codeOf(await refresh(textAt(disabled, 'refresh_token')))).to.equal('401 account-disabled');
    });

    it('the same token many times at once ends nothing', async () => {
      const first = textAt(await signIn(), 'refresh_token');
      const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(first)));
      expect(answers.map(({ status }) => status)).to.deep.equal(Array(10).fill(200));
    });
  });

  describe('logout', () => {
    it('ends the session of the token, at once', async () => {
      const user = await api.signUp();
      const other = await login(user.username);
      expect((await user.send('GET /auth/me')).status).to.equal(200);
      expect((await user.send('POST /auth/logout')).status).to.equal(200);
      expect(codeOf(await user.send('GET /auth/me'))).to.equal('401 unauthenticated');
      expect((await me(textAt(other, 'token'))).status).to.equal(200);
    });

    it('is 200 without a token, with a dead one, and with a refresh token, whose session it ends', async () => {
      expect((await api.send('POST /auth/logout')).status).to.equal(200);
      expect((await api.send('POST /auth/logout', { token: 'garbage' })).status).to.equal(200);
      const session = await login((await buildUser(api.db)).username);
      const body = { refresh_token: textAt(session, 'refresh_token') };
      expect((await api.send('POST /auth/logout', { body })).status).to.equal(200);
      expect(codeOf(await refresh(body.refresh_token))).to.equal('401 unauthenticated');
    });
  });

  it('whatever ends a session tells sockets and other processes to look again', async () => {
    const told: string[] = [];
    const unsubscribe = api.bus.subscribe('access-changed', ({ user_id }) => void told.push(user_id));
    const heard = (user: { id: string }) =>
      waitFor(() => told.splice(0).includes(user.id), { what: 'access-changed' });
    try {
      const leaving = await api.signUp();
      await leaving.send('POST /auth/logout');
      await heard(leaving);
      const careful = await api.signUp();
      await careful.send('POST /auth/change-password', {
        body: { current_password: TEST_PASSWORD, new_password: 'a new one, longer' },
      });
      await heard(careful);
      const robbed = await buildUser(api.db);
      const stolen = textAt(await login(robbed.username), 'refresh_token');
      await refresh(stolen);
      await rows(
        api.db,
        `UPDATE sessions SET replaced_at = now() - interval '1 hour' WHERE token_hash = $1 RETURNING id`,
        {
          bind: [hashToken(stolen)],
        },
      );
      await refresh(stolen);
      await heard(robbed);
    } finally {
      unsubscribe();
    }
  });

  describe('my account', () => {
    it('is shown, and takes back the whole object with a new name, ignoring what is not mine to set', async () => {
      const user = await api.signUp();
      const mine = await user.send('GET /auth/me');
      const changed = await user.send('PUT /auth/me', {
        body: { ...objectOf(mine), username: `${user.username}-2`, role: 'admin', is_active: false },
      });
      expect(changed.status).to.equal(200);
      expect(changed.body).to.include({ username: `${user.username}-2`, role: 'user', is_active: true });
    });

    it("can't take another's name or address", async () => {
      const user = await api.signUp();
      const other = await buildUser(api.db);
      const put = (body: object) => user.send('PUT /auth/me', { body });
      expect(codeOf(await put({ username: other.username }))).to.equal('409 name-taken');
      expect(codeOf(await put({ email: other.email }))).to.equal('409 email-taken');
    });

    it('changing the password keeps this session and ends the others', async () => {
      const user = await api.signUp();
      const other = await login(user.username);
      const change = (current: string) =>
        user.send('POST /auth/change-password', {
          body: { current_password: current, new_password: 'a new one, longer' },
        });
      expect(codeOf(await change('not it'))).to.equal('400 wrong-password');
      expect((await change(TEST_PASSWORD)).status).to.equal(200);
      expect((await user.send('GET /auth/me')).status).to.equal(200);
      expect(codeOf(await me(textAt(other, 'token')))).to.equal('401 unauthenticated');
      expect(codeOf(await refresh(textAt(other, 'refresh_token')))).to.equal('401 unauthenticated');
      expect((await login(user.username, TEST_PASSWORD)).status).to.equal(401);
      expect((await login(user.username, 'a new one, longer')).status).to.equal(200);
    });
  });

  it('says why a token is refused', async () => {
    const short = await startTestApi({ auth: { accessTtlMs: 1 } });
    try {
      const user = await buildUser(short.db);
      const session = await short.send('POST /auth/login', {
        body: { username: user.username, password: TEST_PASSWORD },
      });
      const answer = await waitFor(
        async () => {
          const mine = await short.send('GET /auth/me', { token: textAt(session, 'token') });
          return mine.status === 401 ? mine : null;
        },
        { what: 'the end of a token of one second' },
      );
      expect(codeOf(answer)).to.equal('401 token-expired');
      expect(answer.headers.get('www-authenticate')).to.equal('Bearer realm="aymc", error="invalid_token"');
    } finally {
      await short.close();
    }
    const none = await api.send('GET /auth/me');
    expect(codeOf(none)).to.equal('401 unauthenticated');
    expect(none.headers.get('www-authenticate')).to.equal('Bearer realm="aymc"');
    for (const header of ['Basic abc', 'Bearer', 'Bearer a b', 'garbage']) {
      const answer = await api.send('GET /auth/me', { headers: { Authorization: header } });
      expect(codeOf(answer), header).to.equal('401 unauthenticated');
    }
  });
});
