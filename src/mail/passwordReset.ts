import type { Mail } from './mailer.js';

/** `token` is in the link's fragment, which no server, log or referrer gets to see. */
export function passwordResetMail(
  publicUrl: string,
  { username, token, validForMinutes }: { username: string; token: string; validForMinutes: number },
): Pick<Mail, 'subject' | 'text'> {
  return {
    subject: 'A new password for AYMC',
    text: `Hello ${username},

somebody asked for a new password for your account at ${publicUrl}.
If that was you, choose one here within ${validForMinutes} minutes:

${publicUrl}/reset-password#token=${token}

The link works once. If it was not you, ignore this mail: your password stays as it is.
`,
  };
}
