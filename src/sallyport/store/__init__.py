"""The gateway's own database: SQLAlchemy Core tables, Alembic migrations, one file per port
implemented.
"""
