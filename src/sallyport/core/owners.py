"""Which processes of this data directory serve: each holds a lock on a file while it lives.

An owner is ``<gateway>-<worker>-<run>``: the gateway's id, the worker's number, and hex digits of
this incarnation. The kernel lets go of the lock when the process ends, however it ends, so nobody
has to wait for a heartbeat of a process on this machine.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DIRECTORY: Final = "owners"
_RECOVERY: Final = "recovery.lock"
#: This process cannot look: nobody counts as dead for that, whose recordings would be taken over.
_UNTOLD: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EIO})


class Owners:
    """``owner``: of this process. ``data``: the data directory. Raises OSError."""

    def __init__(self, data: Path, owner: str) -> None:
        self.owner = owner
        self._data, self._directory = data, data / _DIRECTORY
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._own = self._hold()

    @property
    def gateway(self) -> str:
        """The id of this process' gateway."""
        return gateway_of(self.owner)

    def is_dead(self, owner: str) -> bool:
        """Whether an owner of this data directory serves no more."""
        return owner != self.owner and (not owner or not self._is_locked(owner))

    def runs(self) -> list[str]:
        """The incarnations of this gateway that live, this one's first."""
        names = [name for name in self._names() if name != self.owner and self._is_locked(name)]
        return [name.rpartition("-")[2] for name in (self.owner, *names)]

    def forget_dead(self) -> list[str]:
        """Once what was theirs is taken care of: remove their files. Who they were."""
        dead = [name for name in self._names() if name != self.owner and not self._is_locked(name)]
        for name in dead:
            (self._directory / name).unlink(missing_ok=True)
        return dead

    @contextmanager
    def taking_over(self) -> Iterator[None]:
        """One process at a time takes care of what dead ones left. Blocks."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._data / _RECOVERY, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """This process serves no more."""
        (self._directory / self.owner).unlink(missing_ok=True)
        os.close(self._own)

    def _names(self) -> list[str]:
        return sorted(os.listdir(self._directory))

    def _hold(self) -> int:
        path = self._directory / self.owner
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
            except FileNotFoundError:  # somebody looked at it before it was locked, and removed it
                pass
            os.close(descriptor)

    def _is_locked(self, name: str) -> bool:
        if Path(name).name != name:  # no owner: rows and recordings could say anything
            return False
        try:
            descriptor = os.open(self._directory / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            return error.errno in _UNTOLD
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a store. ``gateway``: its name. ``policy``: the version in force there;
    ``policy_problem``: what is to be said about it. ``silent``: seconds since it said that it
    lives.
    """

    gateway: str
    worker: int
    software: str
    policy: str
    policy_problem: str
    silent: float


def worker_of(owner: str) -> int:
    """The number of the worker that an owner is; 0 where it names none."""
    number = owner.partition("-")[2].partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() else 0


def gateway_of(owner: str) -> str:
    """The id of the gateway that an owner belongs to."""
    return owner.partition("-")[0]
