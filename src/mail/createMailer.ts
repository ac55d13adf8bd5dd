import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTransport } from 'nodemailer';
import { AppError } from '#src/domain/errors.js';
import type { Mail, Mailer } from './mailer.js';

export interface MailerOptions {
  /** `smtp[s]://[user:password@]host[:port]`; undefined: mails become files. */
  smtpUrl: string | undefined;
  from: string;
  /** Where those files go; made when the first one does. */
  dir: string;
}

/** Together within the attempt that sends it. */
const SMTP_LIMITS = {
  dnsTimeout: 3_000,
  connectionTimeout: 5_000,
  greetingTimeout: 5_000,
  socketTimeout: 8_000,
};
/** What is mailed is text of ours: nothing in it may be read as a file's name or a URL. */
const TEXT_ONLY = { disableFileAccess: true, disableUrlAccess: true };

export function createMailer({ smtpUrl, from, dir }: MailerOptions): Mailer {
  return smtpUrl === undefined ? createFileMailer(from, dir) : createSmtpMailer(from, smtpUrl);
}

function createSmtpMailer(from: string, url: string): Mailer {
  const transport = createTransport(
    { ...SMTP_LIMITS, ...TEXT_ONLY, url, requireTLS: needsTls(url) },
    { from },
  );
  return {
    async send(mail) {
      try {
        await transport.sendMail(messageOf(mail));
      } catch (error) {
        throw new AppError('mail-failed', { cause: error });
      }
    },
  };
}

/** A password goes over no plain connection, unless it stays on this machine. */
function needsTls(url: string): boolean {
  const { password, hostname } = new URL(url);
  return password !== '' && !['localhost', '127.0.0.1', '[::1]'].includes(hostname);
}

/** `<id>.eml`, as a mail program opens it; never half of one. */
function createFileMailer(from: string, dir: string): Mailer {
  const transport = createTransport({ ...TEXT_ONLY, streamTransport: true, buffer: true }, { from });
  return {
    async send(mail) {
      const { message } = await transport.sendMail(messageOf(mail));
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const path = join(dir, `${mail.id}.eml`);
      await writeFile(`${path}.part`, message, { mode: 0o600 });
      await rename(`${path}.part`, path);
    },
  };
}

function messageOf({ id, to, subject, text }: Mail) {
  return {
    messageId: `<${id}@aymc>`,
    // As an object: no part of it is taken for a second address.
    to: { name: '', address: to },
    subject,
    text,
    headers: { 'Auto-Submitted': 'auto-generated' },
  };
}
