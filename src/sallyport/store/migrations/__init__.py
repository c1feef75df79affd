"""Alembic migrations, run at start when the schema is not the newest; see
:mod:`sallyport.store.database`.
"""
