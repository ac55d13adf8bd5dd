import type { Mail } from './mailer.js';

export function alertMail(
  publicUrl: string,
  { username, title, body }: { username: string; title: string; body: string },
): Pick<Mail, 'subject' | 'text'> {
  return {
    subject: `AYMC: ${title}`,
    text: `Hello ${username},

${title}.

${body}

Sent by ${publicUrl}. Which alerts are mailed to you is among your preferences there.
`,
  };
}
