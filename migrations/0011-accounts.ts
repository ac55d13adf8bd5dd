import type { Migration } from './migration.js';

/** Second factors, invitations, and mails that wait to be sent. */
export const accounts: Migration = {
  name: '0011-accounts',
  up: `
    CREATE TABLE totp_factors (
      user_id      uuid        PRIMARY KEY REFERENCES users ON DELETE CASCADE,
      secret       text        NOT NULL,
      confirmed_at timestamptz,
      last_step    bigint      NOT NULL DEFAULT 0,
      created_at   timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON COLUMN totp_factors.secret IS 'sealed with the control plane''s key; never readable here';
    COMMENT ON COLUMN totp_factors.confirmed_at IS 'null = enrolled and not yet verified: asked for by no login';
    COMMENT ON COLUMN totp_factors.last_step IS 'the newest time step that a code was taken of; none of it or before is taken again';

    CREATE TABLE recovery_codes (
      id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id   uuid NOT NULL REFERENCES totp_factors ON DELETE CASCADE,
      code_hash text NOT NULL UNIQUE
    );
    CREATE INDEX recovery_codes_user_id_idx ON recovery_codes (user_id);

    CREATE TABLE invitations (
      id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      token_hash text        NOT NULL UNIQUE,
      created_by uuid        REFERENCES users ON DELETE SET NULL,
      used_by    uuid        REFERENCES users ON DELETE SET NULL,
      used_at    timestamptz,
      expires_at timestamptz NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now()
    );

    -- What the mail says is made when it is sent: no secret ever lies here.
    CREATE TABLE mails (
      id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      template       text        NOT NULL,
      address        text        NOT NULL,
      request_id     text,
      dispatch_after timestamptz DEFAULT now(),
      created_at     timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX mails_dispatch_after_idx ON mails (dispatch_after) WHERE dispatch_after IS NOT NULL;
    COMMENT ON TABLE mails IS 'mails that were not sent yet; a row goes when its mail has gone';
    COMMENT ON COLUMN mails.dispatch_after IS 'null = its workflow has been started';
  `,
  down: `
    DROP TABLE mails;
    DROP TABLE invitations;
    DROP TABLE recovery_codes;
    DROP TABLE totp_factors;
  `,
};
