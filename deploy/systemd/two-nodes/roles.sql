-- Roles and database of Pinion, once, on the primary, by its administrator:
--     psql --set ON_ERROR_STOP=1 --file roles.sql
-- Then `\password pinion`, `\password pinion_migrate`, `\password pinion_replica`: a password has no place in a file.

-- Owns the schema and changes it (`pinion store migrate`). Used by a person or a job, never by a running switch.
CREATE ROLE pinion_migrate LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT 2;
-- The switches. Reads and writes rows; can neither create, change, drop nor empty a table.
CREATE ROLE pinion LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT 40;
-- Streams to the standby, and sees no table.
CREATE ROLE pinion_replica LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE REPLICATION CONNECTION LIMIT 4;

CREATE DATABASE pinion OWNER pinion_migrate ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\connect pinion

REVOKE ALL ON DATABASE pinion FROM PUBLIC;
GRANT CONNECT ON DATABASE pinion TO pinion, pinion_migrate;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO pinion_migrate;
GRANT USAGE ON SCHEMA public TO pinion;

-- What pinion_migrate makes from now on, pinion may use.
ALTER DEFAULT PRIVILEGES FOR ROLE pinion_migrate IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO pinion;
ALTER DEFAULT PRIVILEGES FOR ROLE pinion_migrate IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO pinion;

-- No session may weaken what an acknowledged commit means by a forgotten setting.
ALTER ROLE pinion SET synchronous_commit = on;
