"""Compares direct connections, PgBouncer and Sallyport on this machine. ``make bench``; never a
test, never timed by CI.
"""
