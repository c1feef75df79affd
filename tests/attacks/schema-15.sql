-- What PostgreSQL 14 does not have.
SET ROLE {role};
CREATE VIEW v_invoker WITH (security_invoker) AS SELECT id, name, ssn AS quiet FROM people;
RESET ROLE;
