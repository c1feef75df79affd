-- Connect with PGOPTIONS='-c default_transaction_read_only=on'.
-- rows: 1
show default_transaction_read_only;
