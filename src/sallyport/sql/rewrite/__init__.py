"""Changing the text of a statement: cuts at tokens, subselects in the place of relations, and the
proof of both.
"""
