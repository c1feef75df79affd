"""Where recordings are: one file per session, ``recordings/YYYY/MM/DD/<session id>.sprec`` (UTC
date of its start). Directories are made with mode 0700, files with 0600.

What is in a file is defined in :mod:`sallyport.audit.blocks`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

from sallyport.core.errors import SallyportError

SUFFIX: Final = ".sprec"
_DAY = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}")
_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class RecordingError(SallyportError):
    """A recording cannot be found or read; the text says which and why."""


class RecordingLostError(OSError):
    """The file of a recording is not the one that was being written any more; trying again cannot
    help.
    """


def is_session_id(text: str) -> bool:
    """Whether a recording can have this name."""
    return _SESSION_ID.fullmatch(text) is not None


def relative_path(session_id: str, started: float) -> str:
    """Where a session's recording lives, below the recordings directory. Raises ValueError for an
    unfit id.
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise ValueError(f"not a session id: {session_id!r}")
    return time.strftime("%Y/%m/%d/", time.gmtime(started)) + session_id + SUFFIX


def recording_path(directory: Path, session_id: str, file: str) -> Path:
    """The path of a recording that the index calls ``file``. Raises RecordingError for one that is
    not a recording of this session below ``directory``: the index may have been tampered with.
    """
    day, _, name = file.rpartition("/")
    if (
        not _SESSION_ID.fullmatch(session_id)
        or name != session_id + SUFFIX
        or not _DAY.fullmatch(day)
    ):
        raise RecordingError(
            f"the index names {file!r} for session {session_id!r}, which is not its recording"
        )
    return directory / file


def make_directories(directory: Path) -> None:
    """Like mkdir -p, but private: Path.mkdir gives ``mode`` to the last directory only."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        make_directories(directory.parent)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir():
            raise


def recording_files(directory: Path) -> dict[str, list[Path]]:
    """The files below ``directory`` that are named as recordings, by session id, in order. Of each
    there should be one.
    """
    files: dict[str, list[Path]] = {}
    for path in sorted(directory.glob(f"????/??/??/*{SUFFIX}")):
        files.setdefault(path.stem, []).append(path)
    return files


def find_recordings(directory: Path) -> dict[str, Path]:
    """Every recording below ``directory`` by session id (from its file name)."""
    return {session: files[-1] for session, files in recording_files(directory).items()}


def recordings_since(directory: Path, since: float) -> dict[str, Path]:
    """As :func:`find_recordings`, of sessions that began on the UTC day of ``since`` (Unix seconds)
    or later.
    """
    first = time.strftime("%Y/%m/%d", time.gmtime(max(since, 0.0)))
    days = (
        day
        for day in sorted(directory.glob("????/??/??"))
        if str(day.relative_to(directory)) >= first
    )
    return {path.stem: path for day in days for path in sorted(day.glob(f"*{SUFFIX}"))}
