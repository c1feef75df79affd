"""Storage outside the data directory, as the configuration names it: the archive of recordings, and
the store that gateways share.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from sallyport.config.secrets import SecretRef


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """S3-compatible storage for recordings. ``url``: s3://bucket/prefix. ``endpoint`` "": Amazon's.
    Without a key the environment or the machine's role is used. ``keep_local_days``: after the
    session's end. ``max_local_bytes``: of local copies; 0: no bound. ``lock_days``: nobody deletes
    or replaces an object for so long after it was stored (S3 object lock, in ``lock_mode``), in a
    bucket that has it; 0: it is not locked.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    access_key_id: SecretRef | None = None
    secret_access_key: SecretRef | None = None
    keep_local_days: float = 7.0
    max_local_bytes: int = 0
    lock_days: float = 0.0
    lock_mode: Literal["compliance", "governance"] = "compliance"


class SharedStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PostgreSQL as the store of several gateways. ``key``: 32 bytes as 64 hexadecimal digits, the
    same for all of them: seals what approvals hold. ``standbys``: host:port of servers that may
    become the primary. ``grace_seconds``: for how long running
    sessions go on while the store cannot be reached. ``policy``: from where it is taken.
    """

    host: str
    database: str
    user: str
    key: SecretRef
    port: int = 5432
    standbys: tuple[str, ...] = ()
    password: SecretRef | None = None
    tls: Literal["verify-full", "disable"] = "verify-full"
    ca: str | None = None
    connect_seconds: float = 5.0
    grace_seconds: float = 60.0
    policy: Literal["file", "published"] = "file"
