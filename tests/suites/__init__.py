"""Other projects' own test suites, direct and through a gateway. ``python -m tests.suites
--help``.
"""
