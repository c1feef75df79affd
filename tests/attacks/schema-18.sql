-- What PostgreSQL 17 does not have.
SET ROLE {role};
CREATE TABLE virtual (id int PRIMARY KEY, label text, amount int, secret int, total int GENERATED ALWAYS AS (amount + secret) VIRTUAL,
  half int GENERATED ALWAYS AS (nullif(amount, secret)) VIRTUAL NOT NULL, CHECK (amount < 1000 OR total < 1500000000));
RESET ROLE;
