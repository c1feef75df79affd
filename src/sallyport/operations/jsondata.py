"""Sessions, their first event and versions of the policy as JSON values, for REST and ``--json``.

Times are RFC 3339 here; offsets within a session stay seconds.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from sallyport.audit import events as ev
from sallyport.audit.ports import SessionRow
from sallyport.core.clock import with_times
from sallyport.policy.versions import PolicyVersion


def row_data(row: SessionRow) -> dict[str, Any]:
    """A session as the index knows it."""
    return with_times(asdict(row), "started", "ended")


def struct_data(value: msgspec.Struct) -> dict[str, Any]:
    """An event, or a part of one."""
    values = msgspec.structs.asdict(value)
    return with_times(values, "started") if isinstance(value, ev.Login) else values


def version_data(version: PolicyVersion) -> dict[str, Any]:
    """A version of the policy, with its text."""
    return with_times(asdict(version), "loaded", "changed")
