"""Handlers of what the server answers."""
