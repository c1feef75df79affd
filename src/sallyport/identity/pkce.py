"""Proof Key for Code Exchange (RFC 7636), method S256."""

from __future__ import annotations

import base64
import hashlib


def challenge_of(verifier: str) -> str:
    """RFC 7636, section 4.2: base64url of its SHA-256, without padding."""
    digest = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
