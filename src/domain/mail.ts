/** What mails there are; what each says is written in src/mail/. */
export const MAIL_TEMPLATES = ['password-reset', 'alert'] as const;
export type MailTemplate = (typeof MAIL_TEMPLATES)[number];
