"""SQL text: bounds, libpg_query's parse tree, tokens, templates and fingerprints."""
