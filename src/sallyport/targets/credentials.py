"""Secrets by reference: ``{env: NAME}``, ``{file: path}``, ``{command: [argv...]}``. A value never
stands in a file we read.

:func:`resolve` is called at every connect, so that a rotated secret is picked up without a restart.
Raises :class:`CredentialError`, which names the reference and never the value, nor anything that a
command printed.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from sallyport.core.errors import ConfigError
from sallyport.core.secret import Secret
from sallyport.targets.secret_source import Credential, CredentialError

__all__ = ["CredentialError", "Reference", "reference_from", "resolve"]

_log = structlog.get_logger(__name__)

#: Bytes; passwords and cloud tokens are far smaller.
MAX_LENGTH = 64 * 1024
#: Seconds that a command may take.
COMMAND_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, repr=False)
class Reference:
    """Where a secret is. ``value``: the variable's name, or the file's path; ``argv`` for a
    command.
    """

    kind: Literal["env", "file", "command"]
    value: str = ""
    argv: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "command":  # arguments may be secrets; the program is enough to find it
            return f"{{command: [{self.argv[0]}, ...]}}"
        return f"{{{self.kind}: {self.value}}}"

    __repr__ = __str__

    async def read(self) -> Credential:
        """As :class:`~sallyport.targets.secret_source.SecretSource`: now, each time."""
        return Credential(await resolve(self))

    def replaces(self, refused: Credential) -> bool:
        """Nothing is kept."""
        return False


_SHAPES = "{env: NAME}, {file: path} or {command: [program, argument, ...]}"


def reference_from(value: object, where: str, base: Path | None = None) -> Reference:
    """A :class:`Reference` from its configuration form; ConfigError that begins with ``where``.

    A relative file starts at ``base``. A plain string is refused: it would be the secret itself.
    """
    if isinstance(value, Reference):
        return value
    if isinstance(value, str):
        raise ConfigError(f"{where}: secrets do not stand in the configuration; use {_SHAPES}")
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ConfigError(f"{where}: must be one of {_SHAPES}")
    ((kind, content),) = value.items()
    if kind == "command":
        if not isinstance(content, list | tuple) or not content:
            raise ConfigError(f"{where}: command must be a list: the program and its arguments")
        if any(not isinstance(part, str) or "\0" in part for part in content) or not content[0]:
            raise ConfigError(
                f"{where}: every part of command must be a string, the program's name not empty"
            )
        return Reference("command", argv=tuple(content))
    if (
        kind not in ("env", "file")
        or not isinstance(content, str)
        or not content
        or "\0" in content
    ):
        raise ConfigError(f"{where}: must be one of {_SHAPES}")
    if kind == "file":
        return Reference("file", str((base or Path()) / content))
    return Reference("env", content)


async def resolve(reference: Reference | Mapping[str, object]) -> Secret:
    """Fetch the secret now. CredentialError when it is missing, empty, not UTF-8, holds NUL or is
    too long.
    """
    if not isinstance(reference, Reference):
        reference = reference_from(reference, "secret")
    if reference.kind == "env":
        value = os.environ.get(reference.value)
        if value is None:
            raise CredentialError(f"{reference}: the environment variable is not set")
        return _secret(reference, os.fsencode(value))
    if reference.kind == "file":
        content = await asyncio.to_thread(_read_file, reference)
    else:
        content = await _run(reference)
    if content.endswith(b"\r\n"):
        content = content[:-2]
    return _secret(reference, content.removesuffix(b"\n"))


def _secret(reference: Reference, content: bytes) -> Secret:
    if not content:
        raise CredentialError(f"{reference}: the secret is empty")
    if len(content) > MAX_LENGTH:
        raise CredentialError(f"{reference}: the secret is longer than {MAX_LENGTH} bytes")
    if b"\0" in content:
        raise CredentialError(f"{reference}: the secret holds a NUL byte")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise CredentialError(f"{reference}: the secret is not UTF-8 text") from None
    return Secret(text)


def _read_file(reference: Reference) -> bytes:
    try:
        # Opened without blocking: a pipe or a device at this path must not hang a login.
        descriptor = os.open(reference.value, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise CredentialError(f"{reference}: not a regular file")
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise CredentialError(
                    f"{reference}: every user of this machine can read it. "
                    "Replace the secret, then run 'chmod 600' on the file"
                )
            if mode & stat.S_IRGRP:
                _log.warning("secret file is readable by its group", file=reference.value)
            return os.read(descriptor, MAX_LENGTH + 2)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CredentialError(f"{reference}: cannot be read: {error.strerror}") from None


async def _run(reference: Reference) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *reference.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            # What it complains about may hold secrets, so it is not kept.
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise CredentialError(f"{reference}: cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT):
            output = await _bounded(process, reference)
            status = await process.wait()
    except TimeoutError:
        raise CredentialError(
            f"{reference}: took longer than {COMMAND_TIMEOUT:g} seconds"
        ) from None
    finally:
        await _end(process)
    if status != 0:
        raise CredentialError(f"{reference}: ended with status {status}; run it by hand to see why")
    return output


async def _bounded(process: asyncio.subprocess.Process, reference: Reference) -> bytes:
    stream = process.stdout
    if stream is None:
        raise CredentialError(f"{reference}: gave no output")
    output = b""
    while chunk := await stream.read(4096):
        output += chunk
        if len(output) > MAX_LENGTH + 2:
            raise CredentialError(f"{reference}: printed more than {MAX_LENGTH} bytes")
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the command and everything it started, when it is still there."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        # A pipe that nobody reads any more would keep wait() waiting for its end.
        while process.stdout is not None and await process.stdout.read(1 << 16):
            pass
        await process.wait()
