"""A network namespace whose peer can vanish: packets are dropped, and nobody says so.

Sockets that :meth:`Namespace.run` makes live in the namespace, wherever they are used. Needs root
and iproute2; :func:`namespace` says when it is not to be had.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class NamespaceUnavailableError(Exception):
    """This machine allows no network namespaces. The text says why."""


class Namespace:
    """``inside``: its address. ``outside``: how it reaches the rest of the machine."""

    def __init__(self, name: str, outside: str, inside: str) -> None:
        self.name, self.outside, self.inside = name, outside, inside

    def run(self, work: Callable[[], T]) -> T:
        """Call ``work`` on a thread that is in the namespace."""

        def entered() -> T:
            with Path(f"/run/netns/{self.name}").open() as handle:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return work()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(entered).result()

    def vanish(self) -> None:
        """From now on nothing that is sent from inside arrives, acknowledgements included."""
        _ip("-n", self.name, "route", "add", "blackhole", f"{self.outside}/32")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Raises NamespaceUnavailableError."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NamespaceUnavailableError("needs root and the program ip (iproute2)")
    number = os.getpid() % 250 + 1
    name, link = f"sallyport{os.getpid()}", f"sp{os.getpid()}"
    made = Namespace(name, f"10.213.{number}.1", f"10.213.{number}.2")
    try:
        _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "inside", "netns", name)
        _ip("addr", "add", f"{made.outside}/30", "dev", link)
        _ip("link", "set", link, "up")
        _ip("-n", name, "addr", "add", f"{made.inside}/30", "dev", "inside")
        _ip("-n", name, "link", "set", "inside", "up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", link], check=False, capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NamespaceUnavailableError(f"ip {' '.join(words)}: {done.stderr.strip()}")
