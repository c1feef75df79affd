"""The policies that were in force, as values, and how two of them differ.

A version is kept when it differs from the one before; a policy that comes back is kept again,
because it was in force again. Nothing here decides anything: the policy in force is the file's.
"""

from __future__ import annotations

import difflib
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sallyport.policy.model import Policy

#: Why a policy was taken.
STARTED: Final = "the gateway started"
CHANGED: Final = "the file changed"
SIGNAL: Final = "SIGHUP"
#: Lines of both texts together up to which differences are looked for thoroughly.
_THOROUGH: Final = 10_000
_CONTEXT: Final = 3


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A policy that was taken at ``loaded`` (Unix seconds). ``version``: hash of its text and
    packs. ``source``: why it was taken. ``owner``: who owns the file, and ``changed``: when it was
    last written (None: not known), both at that moment; they do not prove who wrote it. ``id``:
    counts up; 0 until it is kept.
    """

    version: str
    text: str
    filename: str
    loaded: float
    source: str
    owner: str = ""
    changed: float | None = None
    id: int = 0


def version_of(policy: Policy, source: str, now: float) -> PolicyVersion:
    """The policy as it is kept, with what its file says about itself now."""
    owner, changed = "", None
    try:
        status = Path(policy.filename).stat()
        changed = status.st_mtime
        owner = pwd.getpwuid(status.st_uid).pw_name
    except (OSError, KeyError):
        pass  # it is said with what is known
    return PolicyVersion(policy.version, policy.text, policy.filename, now, source, owner, changed)


@dataclass(frozen=True, slots=True)
class DiffLine:
    """``kind``: same | added | removed | gap (lines that are the same and are left out). Numbers
    from 1, 0 where there is none.
    """

    kind: str
    text: str
    before: int = 0
    after: int = 0


def diff(before: str, after: str) -> list[DiffLine]:
    """What changed, with three lines around it; nothing when nothing did."""
    old, new = before.splitlines(), after.splitlines()
    thorough = len(old) + len(new) <= _THOROUGH
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=not thorough)
    lines: list[DiffLine] = []
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        if lines or group[0][1] > 0:
            lines.append(
                DiffLine("gap", f"from line {group[0][3] + 1}", group[0][1] + 1, group[0][3] + 1)
            )
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [DiffLine("same", old[i], i + 1, j1 + i - i1 + 1) for i in range(i1, i2)]
                continue
            lines += [DiffLine("removed", old[i], i + 1, 0) for i in range(i1, i2)]
            lines += [DiffLine("added", new[j], 0, j + 1) for j in range(j1, j2)]
    return lines


def unified(lines: Sequence[DiffLine]) -> str:
    """As ``diff -u`` marks lines, without its headers."""
    marks = {"same": " ", "added": "+", "removed": "-", "gap": "@@ "}
    return "".join(f"{marks[line.kind]}{line.text}\n" for line in lines)
