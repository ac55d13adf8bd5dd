import { expect } from 'chai';
import { row, rows } from '#src/db/sql.js';
import { hashToken } from '#src/security/tokens.js';
import { buildUser, TEST_PASSWORD } from '#test/build.js';
import { codeOf, objectOf, rowsOf, startTestApi, textAt, type TestApi } from '#test/harness/api.js';
import { openMailbox, tokenIn, type Mailbox } from '#test/harness/mailbox.js';

const NEW_PASSWORD = 'another horse, another battery';

describe('a forgotten password', function () {
  this.timeout(20_000);
  let api: TestApi;
  let mailbox: Mailbox;
  before(async () => {
    api = await startTestApi();
    mailbox = await openMailbox(api.db);
  });
  after(async () => {
    await mailbox.close();
    await api.close();
  });

  const request = (email: string) => api.send('POST /auth/reset-password', { body: { email } });
  const confirm = (token: string, new_password = NEW_PASSWORD) =>
    api.send('POST /auth/reset-password/confirm', { body: { token, new_password } });
  const login = (username: string, password: string) =>
    api.send('POST /auth/login', { body: { username, password } });
  const mailedToken = async (email: string): Promise<string> => {
    expect((await request(email)).status).to.equal(202);
    const mails = await mailbox.collect(email);
    return tokenIn(mails.at(-1) ?? '');
  };

  it('is replaced by the link of a mail; all sessions end, and old and new sign-ins behave', async () => {
    const user = await api.signUp();
    const { email } = await buildUserRow(user.id);
    const token = await mailedToken(email);
    expect((await confirm(token)).status).to.equal(200);
    expect(codeOf(await user.send('GET /auth/me'))).to.equal('401 unauthenticated');
    expect(codeOf(await login(user.username, TEST_PASSWORD))).to.equal('401 invalid-credentials');
    expect((await login(user.username, NEW_PASSWORD)).status).to.equal(200);
  });

  it('is asked for with the same answer whether there is an account or not', async () => {
    const { email } = await buildUser(api.db);
    const { email: disabled } = await buildUser(api.db, { is_active: false });
    const answers = await Promise.all([email, disabled, 'nobody@example.test'].map(request));
    for (const answer of answers) {
      expect(answer.status).to.equal(202);
      expect(answer.body).to.deep.equal(answers[0]?.body);
    }
    expect(await mailbox.collect(email)).to.have.length(1);
    for (const nobody of [disabled, 'nobody@example.test'])
      expect(await mailbox.collect(nobody)).to.deep.equal([]);
    expect(await rows(api.db, 'SELECT 1 FROM deliveries')).to.deep.equal([]);
  });

  it('stores neither the token nor the mail', async () => {
    const { email, id } = await buildUser(api.db);
    await request(email);
    const waiting = await rows(api.db, 'SELECT * FROM deliveries WHERE address = $1', { bind: [email] });
    expect(Object.keys(waiting[0] ?? {})).to.have.members([
      'id',
      'template',
      'address',
      'webhook_id',
      'notification_id',
      'request_id',
      'dispatch_after',
      'created_at',
    ]);
    const [mail = ''] = await mailbox.collect(email);
    const stored = await row<{ token_hash: string; hours: number }>(
      api.db,
      'SELECT token_hash, extract(epoch FROM expires_at - now()) / 3600 AS hours FROM password_resets WHERE user_id = $1',
      { bind: [id] },
    );
    expect(stored?.token_hash).to.equal(hashToken(tokenIn(mail)));
    expect(Number(stored?.hours)).to.be.within(0.9, 1);
  });

  it('takes each link once, also of two uses at the same time', async () => {
    const { email } = await buildUser(api.db);
    const token = await mailedToken(email);
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => confirm(token, `${NEW_PASSWORD} ${i}`)),
    );
    const codes = answers.map(codeOf).sort();
    expect(codes).to.deep.equal(['200', ...Array<string>(7).fill('400 invalid-reset-token')]);
    expect(codeOf(await confirm(token))).to.equal('400 invalid-reset-token');
  });

  it('one used link ends the others of that account', async () => {
    const { email } = await buildUser(api.db);
    const first = await mailedToken(email);
    await request(email);
    const tokens = (await mailbox.collect(email)).map(tokenIn);
    const second = tokens.find(token => token !== first) ?? '';
    expect((await confirm(second)).status).to.equal(200);
    expect(codeOf(await confirm(first))).to.equal('400 invalid-reset-token');
  });

  it('refuses links that are too old, made up, or of an account that was disabled meanwhile', async () => {
    const { email, id } = await buildUser(api.db);
    const old = await mailedToken(email);
    await rows(api.db, `UPDATE password_resets SET expires_at = now() WHERE user_id = $1 RETURNING id`, {
      bind: [id],
    });
    const other = await buildUser(api.db);
    const disabled = await mailedToken(other.email);
    await rows(api.db, 'UPDATE users SET is_active = false WHERE id = $1 RETURNING id', { bind: [other.id] });
    for (const token of [old, 'made-up', disabled])
      expect(codeOf(await confirm(token))).to.equal('400 invalid-reset-token');
    expect(codeOf(await confirm(old, 'short'))).to.equal('400 invalid-request');
  });

  it('floods no mailbox: three mails an hour, and the asker learns nothing of that', async () => {
    const { email } = await buildUser(api.db);
    for (let i = 0; i < 6; i++) expect((await request(email)).status).to.equal(202);
    expect(await mailbox.collect(email)).to.have.length(3);
  });

  it('leaves its traces in the audit, without the token', async () => {
    const { email, id } = await buildUser(api.db);
    const token = await mailedToken(email);
    await confirm(token);
    const admin = await api.signUp({ role: 'admin' });
    const entries = rowsOf(await admin.send(`GET /audit?target_id=${id}`));
    expect(entries.map(({ action }) => action)).to.include('password.reset-mailed');
    const resets = await admin.send(`GET /audit?actor_id=${id}&action=password.reset`);
    expect(rowsOf(resets)).to.have.length(1);
    expect(JSON.stringify([entries, objectOf({ ...resets, body: rowsOf(resets)[0] })])).to.not.include(token);
  });

  it('has a page for the link, which keeps its token out of every URL that is asked for', async () => {
    const page = await api.send('GET //reset-password');
    expect(page.status).to.equal(200);
    expect(page.headers.get('content-security-policy')).to.include("script-src 'self'");
    const script = await api.send('GET //reset-password/page.js');
    expect(script.headers.get('content-type')).to.match(/^text\/javascript/);
    expect(script.body).to.include('location.hash');
  });

  async function buildUserRow(id: string): Promise<{ email: string }> {
    const found = await row<{ email: string }>(api.db, 'SELECT email FROM users WHERE id = $1', {
      bind: [id],
    });
    if (!found) throw new Error('there is no such user');
    return found;
  }

  it('a token never leaves with the answer', async () => {
    const { email } = await buildUser(api.db);
    expect(textAt(await request(email), 'message')).to.not.match(/[\w-]{40}/);
  });
});
