#!/bin/sh
# Runs once, when PostgreSQL initialises: the role that the gateway logs in as. Its password stands in no SQL text.
set -eu
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 <<'SQL'
\getenv password SHOP_PASSWORD
SET password_encryption = 'scram-sha-256';
SET log_statement = 'none';
CREATE ROLE sallyport_agent LOGIN PASSWORD :'password';
SQL
