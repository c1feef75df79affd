"""Stands in for the ``cython`` module where it is not installed: ``frames`` then runs
interpreted.
"""

compiled = False
