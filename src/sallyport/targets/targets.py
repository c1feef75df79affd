"""A database that agents may reach, as a value. Made from configuration by the composition root,
which has checked it; nothing here ever comes from a client.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sallyport.targets.secret_source import SecretSource

TlsMode = Literal["verify-full", "require", "disable"]
AuthMethod = Literal["scram-sha-256", "md5", "password", "trust"]


@dataclass(frozen=True, slots=True)
class Target:
    """``password`` is read at every connect; None where the server asks for none. ``user`` "": its
    source says who.

    tls: ``verify-full`` checks certificate and host name against ``ca`` (None: the system's
    authorities); ``require`` encrypts without checking; ``disable`` is for loopback and sockets.
    ``auth``: the methods that the server may ask for; anything else ends the connection, so that a
    server cannot talk the gateway into sending the password in clear (``password``) or as MD5.
    """

    name: str
    host: str
    database: str
    user: str
    password: SecretSource | None
    port: int = 5432
    tls: TlsMode = "verify-full"
    ca: Path | None = None
    auth: tuple[AuthMethod, ...] = ("scram-sha-256",)
    channel_binding: Literal["prefer", "require", "disable"] = "prefer"
