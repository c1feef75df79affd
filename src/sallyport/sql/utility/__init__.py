"""PostgreSQL's utility statements besides DDL: sessions, settings, COPY, EXPLAIN."""
