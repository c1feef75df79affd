"""Sallyport: a guarded door between AI coding agents and PostgreSQL."""

__version__ = "0.1.0"
