"""Expressions: what each is computed from, and whether computing it is safe."""
