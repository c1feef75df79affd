"""INSERT, UPDATE, DELETE, MERGE, and what their constraints can tell."""
