"""Who serves, in the store: implements the heartbeat of :mod:`sallyport.core.owners` for processes
of other machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import (
    Connection,
    Engine,
    delete,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from sallyport import __version__
from sallyport.audit.ports import IndexUnreadableError
from sallyport.core.owners import Member, Owners, gateway_of, worker_of
from sallyport.store.dialect import INSERTS, clock, is_postgresql, reason_of
from sallyport.store.tables import owners

#: Seconds between two heartbeats, and without one until an owner of another gateway counts as dead.
BEAT: Final = 5.0
DEAD: Final = 60.0
_KEPT: Final = 86_400.0


class SqlOwners:
    """``own``: this process, and its neighbours by their locks. Says at once that it lives: nobody
    may see a request of an owner who was never there. Raises SQLAlchemyError.

    All times are those of the database's clock, for those of two machines may differ. After an
    outage all begin to say again that they live, so a process judges others once it has said so
    itself for as long as an owner may be silent. ``monotonic``: seconds.
    """

    def __init__(
        self, engine: Engine, own: Owners, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._own, self._monotonic = engine, own, monotonic
        self._beating = self._beaten = monotonic()
        self.name = ""
        #: Gives the version of the policy in force, and what is to be said about it.
        self.policy: Callable[[], tuple[str, str]] = lambda: ("", "")
        with engine.begin() as connection:
            connection.execute(delete(owners).where(owners.c.beat < clock(self._engine) - _KEPT))
            self._write(connection)

    @property
    def owner(self) -> str:
        """This process."""
        return self._own.owner

    def beat(self) -> None:
        """Say that this process lives, in a transaction of its own. Blocks. What cannot be written
        is written the next time.
        """
        try:
            with self._engine.begin() as connection:
                self._write(connection)
        except SQLAlchemyError:  # the store's connection and its writer say what is wrong
            return
        before, self._beaten = self._beaten, self._monotonic()
        if self._beaten - before > DEAD / 2:
            self._beating = self._beaten

    def begin_again(self) -> None:
        """The store was away, or is another server now: the others have to say first that they
        live.
        """
        self._beating = self._monotonic()

    def is_dead(self, owner: str) -> bool:
        """Whether an owner serves no more. False too where that cannot be told."""
        is_shared = is_postgresql(self._engine)  # else all are of this data directory
        if not is_shared or gateway_of(owner) in ("", self._own.gateway):
            return self._own.is_dead(owner)
        now, beating = self._monotonic(), self._beating
        if now - beating < DEAD or now - self._beaten > DEAD / 2:
            return False
        lives = select(owners.c.id).where(
            owners.c.id == owner, owners.c.beat >= clock(self._engine) - DEAD
        )
        try:
            with self._engine.connect() as connection:
                return connection.execute(lives).first() is None
        except SQLAlchemyError:
            return False

    def members(self) -> list[Member]:
        """Every process that lives, of all gateways. Raises IndexUnreadableError."""
        try:
            with self._engine.connect() as connection:
                return members_of(connection)
        except SQLAlchemyError as error:
            raise IndexUnreadableError(reason_of(error)) from None

    def _write(self, connection: Connection) -> None:
        insert = INSERTS[self._engine.dialect.name]
        policy, problem = self.policy()
        values = {
            "name": self.name,
            "software": __version__,
            "policy": policy,
            "policy_problem": problem,
        }
        new = insert(owners).values(
            id=self.owner,
            gateway=self._own.gateway,
            started=clock(self._engine),
            beat=clock(self._engine),
            **values,
        )
        changed = {name: new.excluded[name] for name in ("beat", *values)}
        connection.execute(new.on_conflict_do_update(index_elements=[owners.c.id], set_=changed))


def members_of(connection: Connection) -> list[Member]:
    """Every process that lives, by gateway and worker."""
    silent = (clock(connection) - owners.c.beat).label("silent")
    lives = owners.c.beat >= clock(connection) - DEAD
    rows = connection.execute(select(owners, silent).where(lives))
    members = [
        Member(
            row.name or row.gateway,
            worker_of(row.id),
            row.software,
            row.policy,
            row.policy_problem,
            max(0.0, float(row.silent)),
        )
        for row in rows
    ]
    return sorted(members, key=lambda member: (member.gateway, member.worker, member.silent))
