"""Handlers of what the client sends."""
