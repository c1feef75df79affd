"""Recordings in S3-compatible storage, written once and read back.

A recording is stored below ``<prefix>/<YYYY/MM/DD>/<session>.sprec/`` as parts of 32 MiB
(``000000``, ``000001``, ...: put one behind the other they are the file) and, last of all, a
``manifest.json`` with its size and SHA-256. Every object is created only where there is none
(``If-None-Match: *``), so nothing that is stored is ever replaced. What broke off goes on behind
the parts that are there; one that is there must be what would have been written.

With object lock each of them is kept by the storage for a time, whoever asks to delete it
(``x-amz-object-lock-...`` of S3's PutObject), and is only stored where the bucket can.

Needs the extra ``archive`` (obstore, which retries what the network does); object lock, for which
obstore has no way, ``aws`` (boto3) as well.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import msgspec

from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret

#: Bytes of one object.
PART: Final = 32 << 20
_MANIFEST: Final = "manifest.json"


class ArchiveError(SallyportError):
    """The archive did not take or give a recording; the text says why."""


class MissingError(ArchiveError):
    """The archive does not have this recording."""


class ConflictError(ArchiveError):
    """The archive has something else by this name."""


class Manifest(msgspec.Struct, frozen=True):
    """``sha256``: of the file, in hexadecimal digits."""

    session: str
    size: int
    sha256: str
    parts: int


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """``url``: ``s3://bucket/prefix``. ``endpoint`` "": Amazon's. Without a key the environment or
    the machine's role is used. ``lock_seconds``: how long an object is locked, 0: it is not;
    ``lock_mode``: COMPLIANCE | GOVERNANCE.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    lock_seconds: float = 0.0
    lock_mode: str = "COMPLIANCE"


class ObjectArchive:
    """Safe to call from several threads."""

    def __init__(self, place: ArchivePlace) -> None:
        """Raises ArchiveError when the extra is not installed or the place cannot be used."""
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            raise ArchiveError(
                "the archive needs obstore: pip install 'sallyport[archive]', or remove 'archive'"
            ) from None
        options: dict[str, Any] = {"endpoint": place.endpoint, "region": place.region}
        if place.access_key_id is not None and place.secret_access_key is not None:
            options["access_key_id"] = place.access_key_id.reveal()
            options["secret_access_key"] = place.secret_access_key.reveal()
        self.url = place.url
        self._obstore: Any = obstore
        self._lock = _ObjectLock(place) if place.lock_seconds else None
        is_plain = place.endpoint.startswith("http://")
        try:
            self._store = S3Store.from_url(
                place.url,
                client_options={"allow_http": is_plain, "timeout": "60s"},
                retry_config={"max_retries": 4},
                **{name: value for name, value in options.items() if value},
            )
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise ArchiveError(f"the archive {place.url} cannot be used: {error}") from None

    def put(self, session: str, file: str, path: Path) -> Manifest:
        """Store a recording that does not change any more. ``file``: its place below the recordings
        directory. Raises ArchiveError, OSError.
        """
        digest, size, parts = hashlib.sha256(), 0, 0
        with path.open("rb") as source:
            for number, part in enumerate(_parts(source)):
                self.create(f"{file}/{number:06}", part)
                digest.update(part)
                size += len(part)
                parts = number + 1
        manifest = Manifest(session, size, digest.hexdigest(), parts)
        self.create(f"{file}/{_MANIFEST}", msgspec.json.encode(manifest))
        return manifest

    def manifest(self, file: str) -> Manifest:
        """What is stored of a recording. Raises MissingError, ArchiveError."""
        try:
            return msgspec.json.decode(self.read(f"{file}/{_MANIFEST}"), type=Manifest)
        except msgspec.DecodeError:
            raise ArchiveError(f"the archive's manifest of {file} is damaged") from None

    def fetch(self, file: str, path: Path) -> None:
        """Write a recording to ``path``, which is there once it is whole. Raises MissingError,
        ArchiveError, OSError.
        """
        manifest = self.manifest(file)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        digest = hashlib.sha256()
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as target:
                for number in range(manifest.parts):
                    part = self.read(f"{file}/{number:06}")
                    digest.update(part)
                    target.write(part)
            if digest.hexdigest() != manifest.sha256:
                raise ArchiveError(f"the archive's copy of {file} is not what was stored")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def first(self, prefix: str) -> str | None:
        """The object that is first in the order of names among those that begin so. Raises
        ArchiveError.
        """
        try:
            for page in self._obstore.list(self._store, prefix=prefix, chunk_size=1):
                return min(str(entry["path"]) for entry in page)
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise ArchiveError(f"the archive cannot be listed: {_short(error)}") from None
        return None

    def create(self, name: str, data: bytes) -> None:
        """Store an object where there is none. Raises ArchiveError; ConflictError where there is
        another one.
        """
        exceptions = self._obstore.exceptions
        try:
            if self._lock is not None:
                self._lock.create(name, data)
                return
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except (exceptions.AlreadyExistsError, FileExistsError):
            if self.read(name) != data:
                text = f"the archive has something else as {name}; it stays"
                raise ConflictError(text) from None
        except (exceptions.BaseError, OSError) as error:
            raise ArchiveError(f"the archive did not take {name}: {_short(error)}") from None

    def read(self, name: str) -> bytes:
        """An object. Raises MissingError, ArchiveError."""
        try:
            return bytes(self._obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            raise MissingError(f"the archive does not have {name}") from None
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise ArchiveError(f"the archive did not give {name}: {_short(error)}") from None


class _ObjectLock:
    """Stores objects that the storage keeps. Safe to call from several threads."""

    def __init__(self, place: ArchivePlace) -> None:
        """Raises ArchiveError."""
        try:
            import boto3
            import botocore.exceptions
        except ImportError:
            raise ArchiveError(
                "object lock needs boto3: pip install 'sallyport[aws]', or remove 'lock_days'"
            ) from None
        self._errors: Any = botocore.exceptions
        parts = urlsplit(place.url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._seconds, self._mode = place.lock_seconds, place.lock_mode
        keys: dict[str, str] = {}
        if place.access_key_id is not None and place.secret_access_key is not None:
            keys["aws_access_key_id"] = place.access_key_id.reveal()
            keys["aws_secret_access_key"] = place.secret_access_key.reveal()
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=place.endpoint or None,
            region_name=place.region or None,
            **keys,
        )

    def create(self, name: str, data: bytes) -> None:
        """Raises FileExistsError where there is one, ArchiveError."""
        until = datetime.fromtimestamp(time.time() + self._seconds, UTC)
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}/{name}" if self._prefix else name,
                Body=data,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
                ObjectLockMode=self._mode,
                ObjectLockRetainUntilDate=until,
            )
        except self._errors.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                raise FileExistsError(name) from None
            raise ArchiveError(
                f"the archive did not take {name} with object lock: {_short(error)}. The bucket"
                " must have object lock, or remove 'lock_days'"
            ) from None
        except self._errors.BotoCoreError as error:
            raise ArchiveError(f"the archive did not take {name}: {_short(error)}") from None


def _short(error: Exception) -> str:
    """Without what its Debug form repeats."""
    return str(error).split("\n", 1)[0][:300]


def _parts(source: IO[bytes]) -> Iterator[bytes]:
    """At least one, for an empty file."""
    part = source.read(PART)
    yield part
    while len(part) == PART and (part := source.read(PART)):
        yield part
