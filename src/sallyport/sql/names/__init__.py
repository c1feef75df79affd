"""Name resolution: relations, columns, functions and operators, by PostgreSQL's rules."""
