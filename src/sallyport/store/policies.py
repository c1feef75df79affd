"""The policies that were in force, in the store: implements
:class:`sallyport.operations.policies.PolicyVersions`.

Bounded: of more than ``MOST`` the oldest go when the gateway starts.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from sqlalchemy import Engine, Select, delete, insert, select

from sallyport.policy.versions import PolicyVersion
from sallyport.store.dialect import alone
from sallyport.store.tables import policy_versions
from sallyport.store.writer import Writer

MOST: Final = 1000

_insert = insert(policy_versions)
_newest = select(policy_versions).order_by(policy_versions.c.id.desc())


class SqlPolicyVersions:
    """``writer`` None: it only reads."""

    def __init__(
        self, engine: Engine, writer: Writer | None = None, *, maximum: int = MOST
    ) -> None:
        self._engine, self._writer = engine, writer
        if writer is not None:
            self._trim(maximum)
        last = self._one(_newest.limit(1))
        self._last = last.version if last is not None else ""

    def keep(self, version: PolicyVersion, *, again: bool = False) -> None:
        """Queue it, unless it is the version that was kept last (``again``: also then). Returns at
        once, never raises.
        """
        if self._writer is None or (version.version == self._last and not again):
            return
        self._last = version.version
        values = asdict(version)
        del values["id"]
        self._writer.put(_insert, f"{version.loaded!r} {version.version}", values)

    def recent(self, limit: int = 50) -> list[PolicyVersion]:
        """Newest first."""
        with self._engine.connect() as connection:
            return [
                PolicyVersion(**row._mapping) for row in connection.execute(_newest.limit(limit))
            ]

    def get(self, id_: int) -> PolicyVersion | None:
        return self._one(select(policy_versions).where(policy_versions.c.id == id_))

    def before(self, id_: int) -> PolicyVersion | None:
        """The one that was in force before it."""
        return self._one(_newest.where(policy_versions.c.id < id_).limit(1))

    def _one(self, query: Select[tuple[object, ...]]) -> PolicyVersion | None:
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else PolicyVersion(**row._mapping)

    def _trim(self, maximum: int) -> None:
        with self._engine.begin() as connection:
            if not alone(connection, "policy versions"):
                return
            oldest = connection.execute(
                select(policy_versions.c.id)
                .order_by(policy_versions.c.id.desc())
                .offset(maximum)
                .limit(1)
            )
            if (id_ := oldest.scalar()) is not None:
                connection.execute(delete(policy_versions).where(policy_versions.c.id <= id_))
