import type { Migration } from './migration.js';

/** Our catalogue of plugins, and which of them a server has. */
export const plugins: Migration = {
  name: '0006-plugins',
  up: `
    CREATE TABLE plugins (
      id                 uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      name               varchar(100) NOT NULL,
      slug               varchar(100) NOT NULL UNIQUE,
      description        text,
      author             text,
      version            text,
      download_url       text,
      icon_url           text,
      source             text         CHECK (source IN ('spigot', 'modrinth', 'curseforge', 'github', 'hangar')),
      source_id          text,
      category           varchar(50),
      downloads          bigint       NOT NULL DEFAULT 0,
      rating             numeric(3,2),
      minecraft_versions jsonb,
      is_active          boolean      NOT NULL DEFAULT true,
      created_at         timestamptz  NOT NULL DEFAULT now(),
      updated_at         timestamptz  NOT NULL DEFAULT now(),
      UNIQUE (source, source_id)
    );
    CREATE INDEX plugins_category_idx ON plugins (category);
    CREATE INDEX plugins_name_search_idx ON plugins USING gin (to_tsvector('simple'::regconfig, name));
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON plugins FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

    CREATE TABLE server_plugins (
      id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
      server_id    uuid        NOT NULL REFERENCES servers ON DELETE CASCADE,
      plugin_id    uuid        NOT NULL REFERENCES plugins ON DELETE CASCADE,
      version      text,
      is_enabled   boolean     NOT NULL DEFAULT true,
      file_name    text,
      sha512       char(128),
      pinned       boolean     NOT NULL DEFAULT false,
      installed_at timestamptz NOT NULL DEFAULT now(),
      updated_at   timestamptz NOT NULL DEFAULT now(),
      UNIQUE (server_id, plugin_id)
    );
    CREATE INDEX server_plugins_server_id_idx ON server_plugins (server_id);
    CREATE INDEX server_plugins_plugin_id_idx ON server_plugins (plugin_id);
    CREATE TRIGGER touch_updated_at BEFORE UPDATE ON server_plugins FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
  `,
  down: `
    DROP TABLE server_plugins;
    DROP TABLE plugins;
  `,
};
