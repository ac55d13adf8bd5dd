/** Plain text to one address. */
export interface Mail {
  /** Of the row it is sent for; a mail that is sent again has the same Message-ID, by which readers see it once. */
  id: string;
  to: string;
  subject: string;
  text: string;
}

export interface Mailer {
  /** Resolves when the next server has taken it. Rejects with `mail-failed`. */
  send(mail: Mail): Promise<void>;
}
