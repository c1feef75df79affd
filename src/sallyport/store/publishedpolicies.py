"""Policies that were published for every gateway of a store: implements
:class:`sallyport.policy.file.published.PublishedPolicies`.

Texts are sealed with ``store.key``: who can write the store but has no gateway's key cannot make a
policy. They could put back an earlier one, which no running gateway takes.
"""

from __future__ import annotations

import time

from sqlalchemy import Engine, func, insert, select
from sqlalchemy.exc import IntegrityError

from sallyport.core.announcements import Topic
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.policy.file.published import PublishedVersion
from sallyport.policy.model import Policy
from sallyport.store.dialect import flushed
from sallyport.store.link import CHANNEL
from sallyport.store.sealing import Seal
from sallyport.store.tables import published_policies

_newest = select(published_policies).order_by(published_policies.c.number.desc()).limit(1)


class SqlPublishedPolicies:
    """In a shared store. Any thread; raises SQLAlchemyError."""

    def __init__(self, engine: Engine, seal: Seal) -> None:
        self._engine, self._seal = engine, seal

    def newest(self) -> PublishedVersion | None:
        """See :class:`~sallyport.policy.file.published.PublishedPolicies`."""
        with self._engine.connect() as connection:
            row = connection.execute(_newest).first()
        if row is None:
            return None
        try:
            text = self._seal.open(_sealed(bytes(row.sealed)), _place(row.number, row.version))
        except ValueError as error:
            raise ConfigError(
                f"the published policy {row.number} cannot be used: {error}"
            ) from None
        return PublishedVersion(
            row.number, row.version, text.decode(), row.published, row.publisher
        )

    def newest_version(self) -> tuple[int, str]:
        """See :class:`~sallyport.policy.file.published.PublishedPolicies`."""
        columns = published_policies.c
        query = select(columns.number, columns.version).order_by(columns.number.desc()).limit(1)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return (0, "") if row is None else (row.number, row.version)

    def publish(self, policy: Policy, publisher: str) -> int:
        """Put it in force at every gateway that takes its policy from the store; its number. Raises
        SallyportError where somebody else published at the same moment.
        """
        try:
            with self._engine.connect() as connection, flushed(connection):
                newest = connection.execute(select(func.max(published_policies.c.number))).scalar()
                number = (newest or 0) + 1
                place = _place(number, policy.version)
                values = {
                    "number": number,
                    "version": policy.version,
                    "sealed": self._seal.close(policy.text.encode(), place),
                    "published": time.time(),
                    "publisher": publisher,
                }
                connection.execute(insert(published_policies).values(values))
                told = f"\n{Topic.POLICY.value}\n{policy.version}"
                connection.execute(select(func.pg_notify(CHANNEL, told)))
        except IntegrityError:
            raise SallyportError(
                "somebody else published a policy at this moment: see 'sallyport policy gateways'"
            ) from None
        return number


def _place(number: int, version: str) -> str:
    return f"published policy {number} {version}"


def _sealed(value: bytes) -> bytes:
    """Raises ValueError for a value without a seal, which :class:`Seal` would let pass."""
    if not Seal.is_sealed(value):
        raise ValueError("it is not sealed")
    return value
