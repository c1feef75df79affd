"""The target's catalog as a snapshot, and what is said of PostgreSQL's own objects (``*.tsv``)."""
