"""Real servers, real clients and broken networks, as fixtures. Nothing here stands in for
PostgreSQL or a driver.
"""
