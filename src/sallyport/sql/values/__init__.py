"""Types and implicit casts."""
