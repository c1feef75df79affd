"""One file per schema change, oldest first by its number."""
