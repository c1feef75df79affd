"""Lists of statements that tests keep as text."""

import re


def listed(text: str) -> list[str]:
    """One statement a line; a line that begins with a space continues the one before."""
    return re.sub(r"\n +", " ", text.strip()).splitlines()
