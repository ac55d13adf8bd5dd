import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { raiseAlert } from '#src/db/alerts.js';
import { row, rows } from '#src/db/sql.js';
import type { AlertCode, Severity } from '#src/domain/alert.js';
import { WEBHOOKS_MAX } from '#src/domain/webhook.js';
import { buildServer } from '#test/build.js';
import { rowsOf, startTestApi, textAt, valueAt, type ApiUser, type TestApi } from '#test/harness/api.js';
import { openMailbox } from '#test/harness/mailbox.js';

describe('what people are told', function () {
  this.timeout(30_000);
  let api: TestApi;
  let strict: TestApi;
  before(async () => {
    api = await startTestApi();
    strict = await startTestApi({ servers: { allowPrivateUrls: false } });
  });
  after(() => Promise.all([api.close(), strict.close()]));

  let occasions = 0;
  async function tell(user: ApiUser, code: AlertCode = 'crash', severity: Severity = 'warning') {
    const { id } = await buildServer(api.db, { user_id: user.id });
    occasions += 1;
    const alert = { code, severity, title: `t${occasions}`, body: 'b', data: {}, occasion: 'o' };
    await raiseAlert(api.db, { ...alert, server_id: id });
    return { serverId: id, title: alert.title };
  }
  const deliveriesTo = (user: ApiUser) =>
    rows<{ template: string | null }>(
      api.db,
      `SELECT d.template FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE n.user_id = $1
       ORDER BY d.template`,
      { bind: [user.id] },
    );

  describe('notifications', () => {
    it('are listed newest first, one’s own alone, by page, and unread', async () => {
      const [user, other] = [await api.signUp(), await api.signUp()];
      const told = [];
      for (let n = 0; n < 3; n++) told.push(await tell(user));
      const all = await user.send('GET /notifications?limit=2');
      expect(rowsOf(all).map(({ title }) => title)).to.deep.equal([told[2]?.title, told[1]?.title]);
      expect(all.headers.get('x-total-count')).to.equal('3');
      expect(rowsOf(all)[0]).to.deep.include({
        seq: 3,
        type: 'alert',
        data: { code: 'crash' },
        read_at: null,
      });
      expect((await other.send('GET /notifications')).body).to.deep.equal([]);
      const id = String(rowsOf(all)[0]?.['id']);
      expect((await other.send(`POST /notifications/${id}/read`)).status).to.equal(404);
      const read = await user.send(`POST /notifications/${id}/read`);
      expect(valueAt(read, 'read_at')).to.be.a('string');
      expect((await user.send(`POST /notifications/${id}/read`)).body).to.deep.equal(read.body);
      expect(rowsOf(await user.send('GET /notifications?unread=true'))).to.have.length(2);
      expect(rowsOf(await user.send('GET /notifications?unread=false'))).to.have.length(1);
      expect(rowsOf(await user.send('GET /notifications?type=news'))).to.have.length(0);
      const ofServer = await user.send(`GET /notifications?server_id=${told[0]?.serverId}`);
      expect(rowsOf(ofServer)).to.have.length(1);
    });

    it('are read up to one, and those that came later are not', async () => {
      const user = await api.signUp();
      for (let n = 0; n < 3; n++) await tell(user);
      const answer = await user.send('POST /notifications/read', { body: { up_to_seq: 2 } });
      expect(answer.body).to.deep.equal({ read: 2 });
      const unread = rowsOf(await user.send('GET /notifications?unread=true'));
      expect(unread.map(({ seq }) => seq)).to.deep.equal([3]);
    });
  });

  describe('preferences', () => {
    it('are quiet by default: critical alerts are mailed', async () => {
      const user = await api.signUp();
      expect(valueAt(await user.send('GET /auth/me/preferences'), 'email')).to.deep.equal({
        severities: ['critical'],
        muted: [],
      });
      await tell(user, 'crash', 'warning');
      expect(await deliveriesTo(user)).to.deep.equal([]);
      const { title } = await tell(user, 'crash-loop', 'critical');
      const mailbox = await openMailbox(api.db);
      try {
        const profile = await user.send('GET /auth/me');
        const [mail, ...more] = await mailbox.collect(textAt(profile, 'email'));
        expect(mail).to.include(`Subject: AYMC: ${title}`);
        expect(more).to.deep.equal([]);
        expect(await deliveriesTo(user)).to.deep.equal([]);
      } finally {
        await mailbox.close();
      }
    });

    it('are changed in part, and say what goes where', async () => {
      const user = await api.signUp();
      await user.send('POST /webhooks', { body: { url: 'http://127.0.0.1:1/' } });
      const email = { severities: ['warning', 'critical'], muted: ['overloaded'] };
      const changed = await user.send('PUT /auth/me/preferences', { body: { email } });
      expect(changed.body).to.deep.equal({
        email,
        webhook: { severities: ['info', 'warning', 'critical'], muted: [] },
      });
      await tell(user, 'overloaded', 'warning');
      expect(await deliveriesTo(user)).to.deep.equal([{ template: null }]);
      await user.send('PUT /auth/me/preferences', { body: { webhook: { severities: [], muted: [] } } });
      await tell(user, 'crash', 'warning');
      expect(await deliveriesTo(user)).to.deep.equal([{ template: 'alert' }, { template: null }]);
      const wrong = { email: { severities: ['loud'], muted: [] } };
      expect((await user.send('PUT /auth/me/preferences', { body: wrong })).status).to.equal(400);
    });
  });

  describe('webhooks', () => {
    const url = 'http://127.0.0.1:1/hook?token=t';

    it('are made with a secret that is shown once, changed, and deleted by their owner alone', async () => {
      const [user, other] = [await api.signUp(), await api.signUp()];
      const made = await user.send('POST /webhooks', { body: { url, events: ['crash'] } });
      expect(made.status).to.equal(201);
      const secret = textAt(made, 'secret');
      const path = `/webhooks/${textAt(made, 'id')}`;
      const listed = await user.send('GET /webhooks');
      expect(rowsOf(listed)[0]).to.include({ url, format: 'generic', is_active: true, last_status: null });
      expect(JSON.stringify([listed.body, (await user.send(`GET ${path}`)).body])).to.not.include(secret);
      const stored = await row<{ secret: string }>(api.db, 'SELECT secret FROM webhooks WHERE id = $1', {
        bind: [textAt(made, 'id')],
      });
      expect(stored?.secret).to.match(/^v1\./).and.not.include(secret);

      for (const method of ['GET', 'PUT', 'DELETE']) {
        const call = method === 'PUT' ? { body: { is_active: false } } : {};
        expect((await other.send(`${method} ${path}`, call)).status, method).to.equal(404);
      }
      expect((await other.send(`POST ${path}/test`)).status).to.equal(404);
      const whole = { ...rowsOf(listed)[0], is_active: false, format: 'discord' };
      const changed = await user.send(`PUT ${path}`, { body: whole });
      expect(changed.body).to.include({ is_active: false, format: 'discord', url });
      expect((await user.send(`DELETE ${path}`)).status).to.equal(204);
      expect((await user.send(`GET ${path}`)).status).to.equal(404);
      const audited = await rows<{ data: object }>(
        api.db,
        'SELECT action, data FROM audit_log WHERE target_id = $1 ORDER BY at',
        { bind: [textAt(made, 'id')] },
      );
      expect(audited).to.deep.equal(
        ['created', 'updated', 'deleted'].map(what => ({
          action: `webhook.${what}`,
          data: { host: '127.0.0.1:1' },
        })),
      );
    });

    it('are switched on again without their failures', async () => {
      const user = await api.signUp();
      const id = textAt(await user.send('POST /webhooks', { body: { url } }), 'id');
      await api.db.models.Webhook.update({ is_active: false, failures: 5 }, { where: { id } });
      const answer = await user.send(`PUT /webhooks/${id}`, { body: { is_active: true } });
      expect(answer.body).to.include({ is_active: true, failures: 0 });
    });

    it(`are no more than ${WEBHOOKS_MAX} a user, also when asked for at once`, async () => {
      const user = await api.signUp();
      const asked = Array.from({ length: WEBHOOKS_MAX + 3 }, () =>
        user.send('POST /webhooks', { body: { url } }),
      );
      const codes = (await Promise.all(asked)).map(answer => valueAt(answer, 'code') ?? answer.status);
      expect(codes.filter(code => code === 201)).to.have.length(WEBHOOKS_MAX);
      expect(codes.filter(code => code === 'too-many-webhooks')).to.have.length(3);
    });

    it('are tried out once at a time', async () => {
      const user = await api.signUp();
      const id = textAt(await user.send('POST /webhooks', { body: { url } }), 'id');
      const first = await user.send(`POST /webhooks/${id}/test`);
      expect(first.status).to.equal(202);
      expect((await user.send(`POST /webhooks/${id}/test`)).body).to.deep.equal(first.body);
    });

    it('may not lead into private networks, unless the installation allows it', async () => {
      const user = await strict.signUp();
      const code = async (bad: string) =>
        valueAt(await user.send('POST /webhooks', { body: { url: bad } }), 'code');
      expect(await code('https://10.0.0.1/')).to.equal('private-address');
      expect(await code('https://localhost/')).to.equal('private-address');
      expect(await code('http://1.1.1.1/')).to.equal('invalid-request');
      expect(await code('https://u:p@1.1.1.1/')).to.equal('invalid-request');
      const id = textAt(await user.send('POST /webhooks', { body: { url: 'https://1.1.1.1/' } }), 'id');
      const changed = await user.send(`PUT /webhooks/${id}`, { body: { url: 'https://[::1]/' } });
      expect(valueAt(changed, 'code')).to.equal('private-address');
    });

    it('are out of reach of API keys', async () => {
      const user = await api.signUp();
      const key = await user.send('POST /auth/api-keys', { body: { name: 'k', scopes: ['read', 'admin'] } });
      const token = textAt(key, 'key');
      for (const route of ['GET /webhooks', `GET /webhooks/${randomUUID()}`, 'GET /auth/me/preferences']) {
        expect(valueAt(await api.send(route, { token }), 'code'), route).to.equal('insufficient-scope');
      }
      expect((await api.send('GET /notifications', { token })).status).to.equal(200);
    });
  });
});
