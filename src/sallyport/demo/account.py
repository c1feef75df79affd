"""Which operating system user runs PostgreSQL, and where that user can reach files.

PostgreSQL refuses to run as root, so root lends the work to an ordinary user that already exists.
Such a user often cannot reach a checkout in root's home, so programs and data then move to a
directory in the temporary space that only root may write to. Nothing here changes permissions of
existing directories.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sallyport.core.errors import SallyportError


class PostgresError(SallyportError):
    """PostgreSQL could not be found, initialised or started; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Install:
    """PostgreSQL's programs. ``tree``: all directories they need, for copying. ``name``: for
    people.
    """

    bin: Path
    tree: tuple[Path, ...]
    name: str

    def program(self, name: str) -> Path:
        path = self.bin / name
        if not path.exists():
            raise PostgresError(f"{name} is not part of {self.name} ({self.bin}).")
        return path


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user that runs PostgreSQL. ``switch``: we are root and become
    this user.
    """

    name: str
    uid: int
    gid: int
    switch: bool

    def own(self, path: Path) -> None:
        """Give one file or directory to this account; nothing to do unless we are root."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def searches(self, path: Path) -> bool:
        """Whether this account can pass through ``path`` and every directory above it."""
        return not self.switch or all(
            self._may(p, 0o1) for p in (path.resolve(), *path.resolve().parents)
        )

    def runs(self, program: Path) -> bool:
        """Whether this account can execute ``program`` where it is."""
        return not self.switch or (self.searches(program.parent) and self._may(program, 0o5))

    def _may(self, path: Path, bits: int) -> bool:
        info = path.stat()
        needed = bits << 6 if info.st_uid == self.uid else bits
        return info.st_mode & needed == needed


def account() -> Account:
    """Who runs PostgreSQL: the caller, or ``postgres``/``nobody`` when the caller is root."""
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, switch=True)
    raise PostgresError(
        "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' for it."
    )


def reachable_install(install: Install, who: Account) -> Install:
    """``install``, or a copy of it in the temporary space when ``who`` cannot run it where
    it is.
    """
    program = install.program("postgres")
    if who.runs(program) and who.runs(install.program("initdb")):
        return install
    place = _public_root() / f"pg-{_mark(f'{program}:{program.stat().st_mtime_ns}')}"
    if not place.exists():
        scratch = Path(tempfile.mkdtemp(dir=_public_root()))
        for part in install.tree:
            shutil.copytree(part, scratch / part.name, symlinks=True)
        _open_for_reading(scratch)
        try:
            scratch.rename(place)
        except OSError:  # another process was faster
            shutil.rmtree(scratch)
    base = install.tree[0]
    return Install(place / base.name / install.bin.relative_to(base), (place,), install.name)


def reachable_dir(preferred: Path, who: Account) -> Path:
    """``preferred`` (made if missing), or a directory in the temporary space when ``who`` cannot
    pass through it.
    """
    preferred.mkdir(parents=True, exist_ok=True)
    if who.searches(preferred):
        return preferred
    place = _public_root() / f"data-{_mark(str(preferred.resolve()))}"
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    return place


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _public_root() -> Path:
    """A directory in the temporary space that only we write to and everybody may search."""
    root = Path(tempfile.gettempdir()) / f"sallyport-{os.geteuid()}"
    root.mkdir(mode=0o755, exist_ok=True)
    info = root.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise PostgresError(f"{root} exists, but others may write to it. Remove it and try again.")
    root.chmod(0o755)
    return root


def _open_for_reading(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644))
