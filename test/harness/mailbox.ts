import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMailActivities } from '#activities/mail.js';
import type { Database } from '#src/db/connect.js';
import { rows } from '#src/db/sql.js';
import { createMailer } from '#src/mail/createMailer.js';

export interface Mailbox {
  /** Sends what waits, as a worker would, and answers the texts of all mails to that address, one after the other. */
  collect(address: string): Promise<string[]>;
  close(): Promise<void>;
}

/** For tests without Temporal: the worker's own activity, with mails as files in a folder of the test's. */
export async function openMailbox(db: Database): Promise<Mailbox> {
  const dir = await mkdtemp(join(tmpdir(), 'aymc-test-mail-'));
  const mailer = createMailer({ smtpUrl: undefined, from: 'AYMC <aymc@example.test>', dir });
  const { sendMail } = createMailActivities({ db, mailer, publicUrl: 'https://aymc.example.test' });
  return {
    async collect(address) {
      const waiting = await rows<{ id: string }>(db, 'SELECT id FROM deliveries ORDER BY created_at');
      for (const { id } of waiting) await sendMail({ mailId: id });
      return readMails(dir, address);
    },
    close: () => rm(dir, { recursive: true, force: true }),
  };
}

/** The texts of the mails in that folder that go to the address. */
export async function readMails(dir: string, address: string): Promise<string[]> {
  const files = await readdir(dir).catch(() => []);
  const texts = await Promise.all(files.map(file => readFile(join(dir, file), 'utf8')));
  return texts.filter(text => text.includes(`To: ${address}`)).map(decodeQuotedPrintable);
}

/** The token of a link in a mail. */
export function tokenIn(mail: string): string {
  const token = /#token=([\w-]+)/.exec(mail)?.[1];
  if (token === undefined) throw new Error(`there is no token in this mail:\n${mail}`);
  return token;
}

/** RFC 2045 §6.7, as far as our texts go. */
function decodeQuotedPrintable(text: string): string {
  return text
    .replace(/=\r?\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
