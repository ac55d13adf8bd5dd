import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import { totpCode } from '#src/security/totp.js';
import { TEST_PASSWORD } from '#test/build.js';
import { codeOf, startTestApi, textAt, valueAt, type ApiUser, type TestApi } from '#test/harness/api.js';

const STEP_MS = 30_000;

describe('a second factor', function () {
  this.timeout(20_000);
  let api: TestApi;
  before(async () => {
    api = await startTestApi();
  });
  after(() => api.close());

  const login = (user: ApiUser, totp?: string) =>
    api.send('POST /auth/login', {
      body: { username: user.username, password: TEST_PASSWORD, ...(totp !== undefined && { totp }) },
    });
  const enrol = async (user: ApiUser) =>
    textAt(await user.send('POST /auth/totp/enrol', { body: { password: TEST_PASSWORD } }), 'secret');
  const verify = (user: ApiUser, totp: string) => user.send('POST /auth/totp/verify', { body: { totp } });
  /** As if the steps that were used so far lay long ago. */
  const forgetSteps = (user: ApiUser) =>
    rows(api.db, 'UPDATE totp_factors SET last_step = 0 WHERE user_id = $1 RETURNING user_id', {
      bind: [user.id],
    });

  async function enabled(): Promise<{ user: ApiUser; secret: string; codes: string[] }> {
    const user = await api.signUp();
    const secret = await enrol(user);
    const verified = await verify(user, totpCode(secret));
    expect(verified.status).to.equal(200);
    const codes = valueAt(verified, 'recovery_codes');
    await forgetSteps(user);
    return { user, secret, codes: Array.isArray(codes) ? codes.map(String) : [] };
  }

  it('is asked for by no login until a first code was verified', async () => {
    const user = await api.signUp();
    const secret = await enrol(user);
    expect((await login(user)).status).to.equal(200);
    expect(codeOf(await verify(user, '000000'))).to.equal('400 wrong-totp');
    expect((await login(user)).status).to.equal(200);
    expect((await verify(user, totpCode(secret))).status).to.equal(200);
    expect(codeOf(await login(user))).to.equal('401 totp-required');
  });

  it('then signs in with password and code, and tells nobody without the password that it is there', async () => {
    const { user, secret } = await enabled();
    expect(codeOf(await login(user))).to.equal('401 totp-required');
    const { username } = user;
    const guess = await api.send('POST /auth/login', { body: { username, password: 'wrong' } });
    expect(codeOf(guess)).to.equal('401 invalid-credentials');
    expect(codeOf(await login(user, '000000'))).to.equal('401 invalid-totp');
    expect((await login(user, totpCode(secret))).status).to.equal(200);
  });

  it('takes a code once, also of many requests at the same time', async () => {
    const { user, secret } = await enabled();
    const code = totpCode(secret);
    const answers = await Promise.all(Array.from({ length: 6 }, () => login(user, code)));
    expect(answers.map(codeOf).sort()).to.deep.equal(['200', ...Array<string>(5).fill('401 invalid-totp')]);
    expect(codeOf(await login(user, code))).to.equal('401 invalid-totp');
  });

  it('takes the code of a clock that is one step off, but none of a step before one that was used', async () => {
    const { user, secret } = await enabled();
    const now = Date.now();
    expect((await login(user, totpCode(secret, now + STEP_MS))).status).to.equal(200);
    expect(codeOf(await login(user, totpCode(secret, now)))).to.equal('401 invalid-totp');
    await forgetSteps(user);
    expect(codeOf(await login(user, totpCode(secret, now - 3 * STEP_MS)))).to.equal('401 invalid-totp');
    expect((await login(user, totpCode(secret, Date.now() - STEP_MS + 10_000))).status).to.equal(200);
  });

  it('has ten recovery codes, each for one sign-in, however it is typed', async () => {
    const { user, codes } = await enabled();
    expect(new Set(codes).size).to.equal(10);
    const [first = '', second = ''] = codes;
    expect((await login(user, first)).status).to.equal(200);
    expect(codeOf(await login(user, first))).to.equal('401 invalid-totp');
    expect((await login(user, second.toLowerCase().replaceAll('-', ' '))).status).to.equal(200);
    const used = await rows(
      api.db,
      `SELECT 1 FROM audit_log WHERE action = 'totp.recovery-code-used' AND actor_id = $1`,
      { bind: [user.id] },
    );
    expect(used).to.have.length(2);
  });

  it('can’t be replaced by who has only the session, and is disabled with password and code alone', async () => {
    const { user, secret } = await enabled();
    const again = await user.send('POST /auth/totp/enrol', { body: { password: TEST_PASSWORD } });
    expect(codeOf(again)).to.equal('409 totp-enabled');
    const disable = (password: string, totp: string) =>
      user.send('POST /auth/totp/disable', { body: { password, totp } });
    expect(codeOf(await disable('wrong', totpCode(secret)))).to.equal('400 wrong-password');
    expect(codeOf(await disable(TEST_PASSWORD, '000000'))).to.equal('400 wrong-totp');
    expect((await login(user)).status).to.equal(401);
    expect((await disable(TEST_PASSWORD, totpCode(secret))).status).to.equal(200);
    expect((await login(user)).status).to.equal(200);
    expect(codeOf(await disable(TEST_PASSWORD, totpCode(secret)))).to.equal('409 totp-not-enrolled');
  });

  it('is taken from who has lost it by an administrator, who can’t skip their own', async () => {
    const { user } = await enabled();
    const admin = await api.signUp({ role: 'admin' });
    expect(codeOf(await user.send(`DELETE /users/${user.id}/totp`))).to.equal('403 forbidden');
    expect(codeOf(await admin.send(`DELETE /users/${admin.id}/totp`))).to.equal('409 own-account');
    for (let times = 0; times < 2; times++)
      expect((await admin.send(`DELETE /users/${user.id}/totp`)).status).to.equal(204);
    expect((await login(user)).status).to.equal(200);
    const removals = await rows(
      api.db,
      `SELECT 1 FROM audit_log WHERE action = 'totp.removed' AND target_id = $1`,
      {
        bind: [user.id],
      },
    );
    expect(removals).to.have.length(1);
  });

  it('is not begun by who has only the session', async () => {
    const user = await api.signUp();
    const answer = await user.send('POST /auth/totp/enrol', { body: { password: 'wrong' } });
    expect(codeOf(answer)).to.equal('400 wrong-password');
    expect(codeOf(await verify(user, '123456'))).to.equal('409 totp-not-enrolled');
  });

  it('can’t be guessed: wrong codes count like wrong passwords', async () => {
    const limited = await startTestApi({ limits: { loginPerAccountPerMinute: 4 } });
    try {
      const user = await limited.signUp();
      const secret = textAt(
        await user.send('POST /auth/totp/enrol', { body: { password: TEST_PASSWORD } }),
        'secret',
      );
      await user.send('POST /auth/totp/verify', { body: { totp: totpCode(secret) } });
      const body = { username: user.username, password: TEST_PASSWORD, totp: '000000' };
      const guess = () => limited.send('POST /auth/login', { body });
      for (let i = 0; i < 4; i++) expect(codeOf(await guess())).to.equal('401 invalid-totp');
      expect(codeOf(await guess())).to.equal('429 rate-limited');
    } finally {
      await limited.close();
    }
  });

  it('keeps its secret sealed, and its recovery codes as hashes', async () => {
    const { user, secret, codes } = await enabled();
    const factor = await row<{ secret: string }>(
      api.db,
      'SELECT secret FROM totp_factors WHERE user_id = $1',
      {
        bind: [user.id],
      },
    );
    expect(factor?.secret).to.match(/^v1\./).and.not.include(secret);
    const stored = await rows(api.db, 'SELECT code_hash FROM recovery_codes WHERE user_id = $1', {
      bind: [user.id],
    });
    const text = JSON.stringify(stored);
    for (const code of codes) expect(text).to.not.include(code.replaceAll('-', ''));
    const audit = JSON.stringify(await rows(api.db, 'SELECT * FROM audit_log'));
    expect(audit).to.include('totp.enabled').and.not.include(secret);
  });
});
