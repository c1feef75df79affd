"""Signing in to the console and getting session tokens."""
