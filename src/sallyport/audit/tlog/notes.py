"""Signed notes and checkpoints with Ed25519: C2SP signed-note, tlog-checkpoint and
tlog-cosignature.

::

    note       = text "\\n" ("— " name " " base64(key id (4) | signature) "\\n")+
    key id     = SHA-256(name "\\n" | type | public key)[:4]
    vkey       = name "+" hex(key id) "+" base64(type | public key)
    checkpoint = origin "\\n" size "\\n" base64(root hash) "\\n"
    cosigned   = "cosignature/v1\\ntime " Unix seconds "\\n" checkpoint

``type`` is 1 for a log's signature over the text, 4 for a witness' over ``cosigned``, whose
signature is its time (u64, big-endian) and 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sallyport.audit.tlog.hashing import HASH_BYTES
from sallyport.core.errors import SallyportError

ED25519: Final = 1
COSIGNATURE: Final = 4
_PRIVATE: Final = "PRIVATE+KEY+"
_DASH: Final = "— "
#: Characters of a note, and signatures of one, that are read at most.
_MAX_NOTE: Final = 100_000
_MAX_SIGNATURES: Final = 100
_NAME = re.compile(r"[^\s+]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(SallyportError):
    """A key, note, checkpoint or proof is not what it should be; the text says why."""


class WrongKeyError(NoteError):
    """A note bears no signature of the key that it should be signed with."""


def decode_base64(text: str, what: str) -> bytes:
    """Standard base64 with padding, as it is written and in no other way. Raises NoteError."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError(f"{what} is not base64") from None
    if base64.b64encode(value).decode() != text:
        raise NoteError(f"{what} is not canonical base64")
    return value


def encode_base64(value: bytes) -> str:
    """Standard base64 with padding, in one line."""
    return base64.b64encode(value).decode()


def _key_id(name: str, encoded: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + encoded).digest()[:4]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note. ``value``: behind the key's id."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.value)}\n"


class VerifyKey:
    """A public key as signed notes write it. ``kind``: :data:`ED25519` or :data:`COSIGNATURE`."""

    __slots__ = ("_encoded", "_key", "key_id", "kind", "name")

    def __init__(self, name: str, kind: int, public: bytes) -> None:
        """Raises NoteError for what cannot be a key."""
        if not _NAME.fullmatch(name):
            raise NoteError(f"{name!r} is not a key's name: it has no spaces and no plus signs")
        if kind not in (ED25519, COSIGNATURE):
            raise NoteError(
                f"a key of type {kind}: only Ed25519 (1) and cosignatures (4) are known",
            )
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise NoteError("an Ed25519 public key has 32 bytes") from None
        self.name, self.kind = name, kind
        self._encoded = bytes([kind]) + public
        self.key_id = _key_id(name, self._encoded)

    @classmethod
    def parse(cls, text: str) -> VerifyKey:
        """From a vkey. Raises NoteError."""
        name, _, rest = text.strip().partition("+")
        id_, _, encoded = rest.partition("+")
        if not name or not id_ or not encoded:
            raise NoteError(
                f"{text.strip()!r} is not a public key; it looks like name+1a2b3c4d+AbC...=",
            )
        value = decode_base64(encoded, "the public key")
        key = cls(name, value[0] if value else 0, value[1:])
        if key.key_id.hex() != id_:
            raise NoteError("the public key does not match its id: a character was lost or changed")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._encoded)}"

    def __eq__(self, value: object) -> bool:
        return isinstance(value, VerifyKey) and str(self) == str(value)

    def __hash__(self) -> int:
        return hash(str(self))

    def owns(self, signature: Signature) -> bool:
        """Whether the signature says that it is this key's."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def is_valid(self, signature: Signature, text: str) -> bool:
        """Whether the signature over a note's text is this key's and right."""
        value, signed = signature.value, text.encode()
        if self.kind == COSIGNATURE:
            time, value = int.from_bytes(value[:8], "big"), value[8:]
            signed = f"cosignature/v1\ntime {time}\n".encode() + signed
        try:
            self._key.verify(value, signed)
        except InvalidSignature:
            return False
        return self.owns(signature)


class SigningKey:
    """A private key. Never shows it but to :meth:`secret_text`, which is what is kept in a file."""

    __slots__ = ("_key", "public")

    def __init__(self, name: str, seed: bytes, kind: int = ED25519) -> None:
        """Raises NoteError."""
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(seed)
        except ValueError:
            raise NoteError("an Ed25519 private key has 32 bytes") from None
        self.public = VerifyKey(name, kind, self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """From :meth:`secret_text`. Raises NoteError, which does not quote it."""
        parts = text.strip().removeprefix(_PRIVATE).split("+", 2)
        if not text.startswith(_PRIVATE) or len(parts) != 3:
            raise NoteError("not a private key of signed notes")
        value = decode_base64(parts[2], "the private key")
        key = cls(parts[0], value[1:], value[0] if value else 0)
        if key.public.key_id.hex() != parts[1]:
            raise NoteError("the private key does not match its id")
        return key

    def __repr__(self) -> str:
        return f"SigningKey({str(self.public)!r})"

    def secret_text(self) -> str:
        """As Go's sumdb/note writes private keys."""
        encoded = bytes([self.public.kind]) + self._key.private_bytes_raw()
        return f"{_PRIVATE}{self.public.name}+{self.public.key_id.hex()}+{encode_base64(encoded)}\n"

    def cosigner(self, name: str) -> SigningKey:
        """The same key as a witness' key (type 4, an id of its own) under a name."""
        return SigningKey(name, self._key.private_bytes_raw(), COSIGNATURE)

    def sign(self, text: str) -> Signature:
        """A log's signature over a note's text, which ends in a newline."""
        return Signature(self.public.name, self.public.key_id, self._key.sign(text.encode()))

    def cosign(self, text: str, time: int) -> Signature:
        """A witness' signature over a checkpoint's text. ``time``: Unix seconds."""
        signed = f"cosignature/v1\ntime {time}\n".encode() + text.encode()
        value = time.to_bytes(8, "big") + self._key.sign(signed)
        return Signature(self.public.name, self.public.key_id, value)


def parse_signature(line: str) -> Signature:
    """One signature line, with or without its newline. Raises NoteError."""
    return _signature(line.removesuffix("\n"))


@dataclass(frozen=True, slots=True)
class Note:
    """``text`` ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, content: str) -> Note:
        """Raises NoteError. Nothing of it is verified yet."""
        text, blank, lines = content.rpartition("\n\n")
        if not blank or not lines.endswith("\n") or len(content) > _MAX_NOTE:
            raise NoteError("not a signed note: text, an empty line and signatures are needed")
        if any(character < " " and character != "\n" for character in content):
            raise NoteError("not a signed note: it has control characters")
        signatures = [_signature(line) for line in lines[:-1].split("\n")]
        if len(signatures) > _MAX_SIGNATURES:
            raise NoteError("a note with too many signatures")
        return cls(text + "\n", tuple(signatures))

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)

    def check(self, key: VerifyKey) -> None:
        """Raises WrongKeyError unless the key signed it; signatures of unknown keys are ignored."""
        own = [signature for signature in self.signatures if key.owns(signature)]
        if not own:
            ids = (f"{signature.name}+{signature.key_id.hex()}" for signature in self.signatures)
            signers = ", ".join(ids)
            raise WrongKeyError(f"signed by {signers}, not by {key.name}+{key.key_id.hex()}")
        if not all(key.is_valid(signature, self.text) for signature in own):
            raise WrongKeyError(f"the signature of {key.name} does not fit the text")


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.fullmatch(name):
        raise NoteError("not a signed note: a signature line begins with a dash and a name")
    value = decode_base64(encoded, "a signature")
    if len(value) <= 4:
        raise NoteError("a signature is too short")
    return Signature(name, value[:4], value[4:])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself at one size. ``note`` has the signatures."""

    origin: str
    size: int
    root: bytes
    note: Note

    @classmethod
    def parse(cls, content: str, key: VerifyKey | None = None) -> Checkpoint:
        """Raises NoteError; with ``key`` also WrongKeyError, and NoteError for another origin."""
        note = Note.parse(content)
        lines = note.text[:-1].split("\n")
        if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
            raise NoteError("not a checkpoint: origin, size and root hash are needed, a line each")
        root = decode_base64(lines[2], "the root hash")
        if len(root) != HASH_BYTES:
            raise NoteError("the root hash has not 32 bytes")
        if key is not None:
            note.check(key)
            if lines[0] != key.name:
                raise NoteError(f"a checkpoint of the log {lines[0]!r}, not of {key.name!r}")
        return cls(lines[0], int(lines[1]), root, note)

    @classmethod
    def sign(cls, key: SigningKey, size: int, root: bytes) -> Checkpoint:
        text = f"{key.public.name}\n{size}\n{encode_base64(root)}\n"
        return cls(key.public.name, size, root, Note(text, (key.sign(text),)))

    def with_signatures(self, signatures: tuple[Signature, ...]) -> Checkpoint:
        """The same with more signatures; those that it has already stay once."""
        more = tuple(s for s in signatures if s not in self.note.signatures)
        note = Note(self.note.text, self.note.signatures + more)
        return Checkpoint(self.origin, self.size, self.root, note)

    def __str__(self) -> str:
        return str(self.note)


def split_notes(content: str) -> list[str]:
    """The notes that stand behind each other in a file."""
    notes: list[str] = []
    lines: list[str] = []
    signed = False
    for line in content.splitlines(keepends=True):
        is_signature = line.startswith(_DASH)
        if signed and not is_signature:
            notes.append("".join(lines))
            lines, signed = [], False
            if not line.strip():
                continue
        if lines or line.strip():
            lines.append(line)
        signed = is_signature
    if "".join(lines).strip():
        notes.append("".join(lines))
    return notes
