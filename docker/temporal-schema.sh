#!/bin/sh
# Brings Temporal's two databases to the schema of this release; running it again changes nothing.
set -eu

tool() {
  database=$1
  shift
  temporal-sql-tool --plugin postgres12 --ep "$POSTGRES_SEEDS" -p "$DB_PORT" -u "$POSTGRES_USER" --db "$database" "$@"
}

bring_up() {
  versions=/etc/temporal/schema/postgresql/v12/$2/versioned
  tool "$1" create
  # Fails only where there is no schema yet.
  tool "$1" update-schema -d "$versions" || { tool "$1" setup-schema -v 0.0 && tool "$1" update-schema -d "$versions"; }
}

bring_up temporal temporal
bring_up temporal_visibility visibility
