import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { requestMail } from '#src/db/deliveries.js';
import { rows } from '#src/db/sql.js';
import { createMailer } from '#src/mail/createMailer.js';
import { buildUser } from '#test/build.js';
import { readMails, tokenIn } from '#test/harness/mailbox.js';
import { rejectionCode } from '#test/harness/rejection.js';
import { startSmtpServer, type SmtpServer } from '#test/harness/smtpServer.js';
import { startTestStack, type TestStack } from '#test/harness/stack.js';
import { waitFor } from '#test/harness/waitFor.js';

const template = 'password-reset';
const requestId = 'r1';

describe('mails', function () {
  this.timeout(60_000);
  let smtp: SmtpServer;
  let stack: TestStack;
  before(async () => {
    smtp = await startSmtpServer();
    stack = await startTestStack({ SMTP_URL: smtp.url, MAIL_FROM: 'AYMC <aymc@example.test>' });
  });
  after(async () => {
    await stack.stop();
    await smtp.close();
  });

  const sentTo = (address: string) => smtp.mails.filter(({ to }) => to === address);

  it('are sent by a workflow, which tries until the mail server takes them, and are gone then', async () => {
    const { email } = await buildUser(stack.db);
    smtp.refuse(2);
    await requestMail(stack.db, { template, address: email, requestId });
    await waitFor(() => sentTo(email).length > 0, { timeoutMs: 30_000, what: 'the mail' });
    const empty = async () => (await rows(stack.db, 'SELECT 1 FROM deliveries')).length === 0;
    await waitFor(empty, { what: 'the end of its row' });
    expect(smtp.attempts).to.be.at.least(3);
    expect(sentTo(email)).to.have.length(1);
    expect(sentTo(email)[0]?.message).to.include('From: AYMC <aymc@example.test>');
  });

  it('leave no address, name or token in a workflow’s history', async () => {
    const { email, username } = await buildUser(stack.db);
    await requestMail(stack.db, { template, address: email, requestId });
    const [{ id } = { id: '' }] = await rows<{ id: string }>(
      stack.db,
      'SELECT id FROM deliveries WHERE address = $1',
      { bind: [email] },
    );
    await waitFor(() => sentTo(email).length > 0, { timeoutMs: 30_000, what: 'the mail' });
    const handle = stack.temporal.workflow.getHandle(`mail:${id}`);
    await handle.result();
    const history = JSON.stringify(await handle.fetchHistory());
    const token = tokenIn(sentTo(email)[0]?.message.replaceAll('=\r\n', '').replaceAll('=3D', '=') ?? '');
    for (const secret of [email, username, token]) {
      expect(history).to.not.include(secret);
      expect(history).to.not.include(Buffer.from(secret).toString('base64').slice(0, -4));
    }
  });

  it('that wait while no worker is there are sent by the next one', async () => {
    const { email } = await buildUser(stack.db);
    const restarted = stack.restartWorker();
    await requestMail(stack.db, { template, address: email, requestId });
    await restarted;
    await waitFor(() => sentTo(email).length > 0, { timeoutMs: 30_000, what: 'the mail' });
  });
});

describe('a mailer', () => {
  it('writes files where there is no mail server, for their owner to read alone', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'aymc-test-mail-'));
    try {
      const mailer = createMailer({ smtpUrl: undefined, from: 'a@example.test', dir: join(dir, 'mail') });
      await mailer.send({ id: 'm1', to: 'b@example.test', subject: 'Grüße', text: 'Hällo' });
      const [mail] = await readMails(join(dir, 'mail'), 'b@example.test');
      expect(mail).to.include('Message-ID: <m1@aymc>').and.include('Subject: =?UTF-8?');
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  it('mails one address, whatever else that claims to be', async () => {
    const smtp = await startSmtpServer();
    try {
      const mailer = createMailer({ smtpUrl: smtp.url, from: 'a@example.test', dir: '' });
      await mailer.send({
        id: 'm',
        to: 'b@example.test',
        subject: 's',
        text: '.\r\nRCPT TO:<c@example.test>',
      });
      expect(smtp.mails.map(({ to }) => to)).to.deep.equal(['b@example.test']);
    } finally {
      await smtp.close();
    }
  });

  it('says that the server failed when nobody is there', async () => {
    const smtp = await startSmtpServer();
    await smtp.close();
    const mail = { id: 'm', to: 'b@example.test', subject: 's', text: 't' };
    const gone = createMailer({ smtpUrl: smtp.url, from: 'a@example.test', dir: '' });
    expect(await rejectionCode(gone.send(mail))).to.equal('mail-failed');
  });
});
