"""One person in one browser."""

from __future__ import annotations

import hmac
import math
import secrets
from dataclasses import dataclass, field

from sallyport.core.subject import Subject


@dataclass(slots=True)
class SignIn:
    """``csrf``: must come back with every POST. ``streams``: that are open at this gateway now.
    Times are Unix seconds. ``ends``: where the provider says so. ``is_stored``, ``told``,
    ``checked``: whether all gateways know it, since when they know that its person was there, and
    when they were asked last.
    """

    subject: Subject
    started: float
    seen: float
    ends: float = math.inf
    streams: int = 0
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    is_stored: bool = False
    told: float = 0.0
    checked: float = 0.0

    def csrf_matches(self, token: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))
