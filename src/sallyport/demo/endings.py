"""How a child process ended, in words for an error that must not be empty: one that is killed says
nothing.
"""

from __future__ import annotations

import signal


def ending(status: int | None) -> str:
    """``status``: as subprocess gives it, negative for a signal, None while the process runs."""
    if status is None:
        return "still runs"
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def last_words(text: str) -> str:
    """What it said, or that it said nothing."""
    return text.strip() or "(it said nothing)"
