import type { Migration } from './migration.js';

/**
 * Who may sign in, and with what. `touch_updated_at` keeps `updated_at` true for every table that has one: a model, a
 * plain UPDATE and a hand at psql cannot differ about it.
 */
export const identity: Migration = {
  name: '0001-identity',
  up: `
    CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$function$;

    CREATE TABLE users (
      id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      username      varchar(50)  NOT NULL UNIQUE,
      email         varchar(100) NOT NULL UNIQUE,
      password_hash text         NOT NULL,
      role          text         NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'user', 'viewer')),
      is_active     boolean      NOT NULL DEFAULT true,
      last_login    timestamptz,
      created_at    timestamptz  NOT NULL DEFAULT now(),
      updated_at    timestamptz  NOT NULL DEFAULT now()
    );
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

    -- A refresh token per row. Rotation makes the next row of the same family; a token that comes back after it was
    -- replaced (and after its minute of grace) ends the whole family.
    CREATE TABLE sessions (
      id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id     uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
      token_hash  text        NOT NULL UNIQUE,
      family_id   uuid        NOT NULL DEFAULT gen_random_uuid(),
      ip_address  text,
      user_agent  text,
      expires_at  timestamptz NOT NULL,
      replaced_at timestamptz,
      replaced_by uuid,
      revoked_at  timestamptz,
      created_at  timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX sessions_user_id_idx ON sessions (user_id);
    CREATE INDEX sessions_family_id_idx ON sessions (family_id);
    CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);

    CREATE TABLE api_keys (
      id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id      uuid         NOT NULL REFERENCES users ON DELETE CASCADE,
      name         varchar(100) NOT NULL,
      prefix       varchar(16)  NOT NULL,
      key_hash     text         NOT NULL UNIQUE,
      scopes       text[]       NOT NULL DEFAULT ARRAY[]::text[],
      expires_at   timestamptz,
      last_used_at timestamptz,
      created_at   timestamptz  NOT NULL DEFAULT now()
    );
    CREATE INDEX api_keys_user_id_idx ON api_keys (user_id);

    CREATE TABLE password_resets (
      id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      user_id    uuid        NOT NULL REFERENCES users ON DELETE CASCADE,
      token_hash text        NOT NULL UNIQUE,
      expires_at timestamptz NOT NULL,
      used_at    timestamptz,
      created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX password_resets_user_id_idx ON password_resets (user_id);
  `,
  down: `
    DROP TABLE password_resets;
    DROP TABLE api_keys;
    DROP TABLE sessions;
    DROP TABLE users;
    DROP FUNCTION touch_updated_at;
  `,
};
