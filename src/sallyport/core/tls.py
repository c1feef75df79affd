"""What every TLS context of the gateway has in common, on either side."""

from __future__ import annotations

import ssl
from typing import Final

#: TLS 1.2 suites with authenticated encryption only: no CBC, no static RSA (RFC 9325 section 4.2).
#: TLS 1.3 has nothing else.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aDSS:!aNULL"


def harden(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS 1.2 or newer, with :data:`CIPHERS`."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    return context
