#!/bin/bash
# Run once by the PostgreSQL container, when its database is made: the role with which the pages connect.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$PAGE_PASSWORD" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE page LOGIN PASSWORD :'password';
SQL
