import type { Migration } from './migration.js';

/** What upstreams last said, for when they are down, and so that all api processes ask once. */
export const upstreamVersions: Migration = {
  name: '0013-upstream-versions',
  up: `
    CREATE TABLE upstream_versions (
      server_type text PRIMARY KEY
        CHECK (server_type IN ('paper', 'spigot', 'purpur', 'vanilla', 'fabric', 'forge')),
      versions jsonb NOT NULL,
      fetched_at timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON COLUMN upstream_versions.versions IS 'newest first: [{version, stable, java_major?}]';
  `,
  down: 'DROP TABLE upstream_versions;',
};
