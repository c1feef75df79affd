"""Approvals in the store: implements :class:`sallyport.approvals.ports.ApprovalStore`.

These rows do not go through the writer thread. A statement must not run on an approval that a crash
would forget, or could use again, so every call is one small transaction that is over when it
returns. Where people decide and where an approval is used, it is also on the disk (one fsync); a
request for approval must survive the process only, for without its process it is void anyway or
asked again. A statement waits for a person here, so milliseconds do not count; but the event loop
does not wait long for another writer either: after :data:`WAIT` milliseconds (in PostgreSQL, the
timeout of the engine) the call fails, and what cannot be stored has not happened.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    insert,
    null,
    select,
    text,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from sallyport.approvals.states import (
    ApprovalRequirement,
    Binding,
    Decision,
    Grant,
    Preview,
    Request,
    Requester,
    Status,
)
from sallyport.core.errors import Refusal, RefusedError, refuse
from sallyport.store.dialect import flushed, is_postgresql, reason_of
from sallyport.store.sealing import Seal
from sallyport.store.tables import approval_decisions, approval_grants, approvals

#: Milliseconds to wait for another writer of the same database.
WAIT: Final = 1000

_log = structlog.get_logger("sallyport.store")
_OPEN: Final = (Status.PENDING.value, Status.APPROVED.value)


class SqlApprovalStore:
    """Used by one thread at a time; in SQLite on a connection of its own. Raises RefusedError
    (SP1801) for what cannot be written.
    """

    def __init__(self, engine: Engine, seal: Seal) -> None:
        self._engine = engine
        self._seal = seal
        self._lock = threading.RLock()
        self._connection: Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # -- requests ----------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        with self._writing(durable=False) as connection:
            connection.execute(insert(approvals), [self._values(request)])
            for number, decision in enumerate(request.decisions):
                connection.execute(
                    insert(approval_decisions), [_decision_values(request, number, decision)]
                )

    def change(
        self,
        request: Request,
        expected: Status,
        *,
        decision: Decision | None = None,
        grant: Grant | None = None,
    ) -> bool:
        is_expected = [approvals.c.id == request.id, approvals.c.status == expected.value]
        if request.status is Status.USED and request.grant:
            is_expected.append(
                select(approval_grants.c.id).where(_unrevoked(request.grant)).exists()
            )
        with self._writing(durable=True) as connection:
            changed = connection.execute(
                update(approvals)
                .where(*is_expected)
                .values(
                    status=request.status.value,
                    void_reason=request.void_reason,
                    **self._forgotten(request),
                )
            )
            if changed.rowcount != 1:
                return False
            if decision is not None:
                number = len(request.decisions) - 1
                connection.execute(
                    insert(approval_decisions), [_decision_values(request, number, decision)]
                )
            if grant is not None:
                connection.execute(insert(approval_grants), [_grant_values(grant)])
        return True

    def set_preview(self, request_id: str, preview: Preview) -> None:
        with self._writing(durable=False) as connection:
            connection.execute(
                update(approvals)
                .where(approvals.c.id == request_id, approvals.c.status.in_(_OPEN))
                .values(preview=self._sealed_preview(request_id, preview))
            )

    def get(self, request_id: str) -> Request | None:
        requests = self._requests(select(approvals).where(approvals.c.id == request_id))
        return requests[0] if requests else None

    def open(self) -> list[Request]:
        query = select(approvals).where(approvals.c.status.in_(_OPEN))
        return self._requests(query.order_by(approvals.c.created, approvals.c.id))

    def recent(self, limit: int) -> list[Request]:
        query = select(approvals).order_by(approvals.c.created.desc(), approvals.c.id.desc())
        return self._requests(query.limit(limit))

    def latest(self, digest: str) -> Request | None:
        query = select(approvals).where(approvals.c.digest == self._seal.digest(digest))
        requests = self._requests(
            query.order_by(approvals.c.created.desc(), approvals.c.id.desc()).limit(1)
        )
        return requests[0] if requests else None

    def asked(self, issuer: str, subject: str, since: float) -> list[float]:
        query = select(approvals.c.created, approvals.c.requester).where(
            approvals.c.created > since, approvals.c.grant_id == ""
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(approvals.c.created)).all()
        asked = ((row.created, msgspec.convert(row.requester, Requester)) for row in rows)
        return [at for at, who in asked if (who.issuer, who.id) == (issuer, subject)]

    # -- grants ------------------------------------------------------------------------------------

    def use_grant(self, grant_id: str) -> bool:
        return self._change_grant(grant_id, uses=approval_grants.c.uses + 1)

    def revoke_grant(self, grant: Grant) -> bool:
        return self._change_grant(
            grant.id, revoked_at=grant.revoked_at, revoked_by=grant.revoked_by
        )

    def grants(self, now: float | None = None) -> list[Grant]:
        table = approval_grants
        query = select(table).order_by(table.c.created.desc(), table.c.id.desc())
        if now is not None:
            query = query.where(table.c.revoked_at.is_(None), table.c.expires_at > now)
        with self._reading() as connection:
            return [_grant(row) for row in connection.execute(query)]

    # -- inside ------------------------------------------------------------------------------------

    def _change_grant(self, grant_id: str, **values: Any) -> bool:
        """One that is not revoked: what another process writes meanwhile is never undone."""
        query = update(approval_grants).where(_unrevoked(grant_id)).values(**values)
        with self._writing(durable=True) as connection:
            return connection.execute(query).rowcount == 1

    def _requests(self, query: Select[Any]) -> list[Request]:
        with self._reading() as connection:
            rows = connection.execute(query).all()
            decisions: dict[str, list[Decision]] = {}
            table = approval_decisions
            votes = select(table).where(table.c.approval.in_([row.id for row in rows]))
            for row in connection.execute(votes.order_by(table.c.approval, table.c.number)):
                decisions.setdefault(row.approval, []).append(_decision(row))
            requests = (self._request(row, tuple(decisions.get(row.id, ()))) for row in rows)
            return [request for request in requests if request is not None]

    def _values(self, request: Request) -> dict[str, Any]:
        binding, preview = msgspec.msgpack.encode(request.binding), request.preview
        return _values(request) | {
            "digest": self._seal.digest(request.binding.digest),
            "binding": self._seal.close(binding, request.id),
            "preview": None if preview is None else self._sealed_preview(request.id, preview),
        }

    def _sealed_preview(self, request_id: str, preview: Preview) -> str:
        return self._seal.close(msgspec.msgpack.encode(preview), request_id).hex()

    def _forgotten(self, request: Request) -> dict[str, Any]:
        """What the row becomes when nobody decides any more: values that recordings do not show,
        and plans that quote them, go.
        """
        if not request.status.final or request.binding.recorded is None:
            return {}
        binding = msgspec.msgpack.encode(request.binding.without_values)
        return {"binding": self._seal.close(binding, request.id), "preview": null()}

    def _request(self, row: Row[Any], decisions: tuple[Decision, ...]) -> Request | None:
        """None, and a line in the log, for a row that is not what the gateway wrote: nothing runs
        by it.
        """
        try:
            binding = self._seal.open(row.binding, row.id)
            preview = row.preview
            if isinstance(preview, str):
                preview = msgspec.msgpack.decode(self._seal.open(bytes.fromhex(preview), row.id))
        except ValueError as error:
            _log.error("an approval cannot be read", approval=row.id, error=str(error))
            return None
        return _request(row, decisions, binding, preview)

    @contextmanager
    def _writing(self, *, durable: bool) -> Iterator[Connection]:
        with self._lock:
            try:
                connection = self._open()
                with flushed(connection) if durable else connection.begin():
                    yield connection
            except SQLAlchemyError as error:
                self.close()
                _log.error("an approval cannot be stored", error=reason_of(error))
                raise RefusedError(_refused("written")) from None
            finally:
                if is_postgresql(self._engine):
                    self.close()  # kept by the pool, which asks whether it still works

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._lock, self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            _log.error("approvals cannot be read", error=str(getattr(error, "orig", error)))
            raise RefusedError(_refused("read")) from None

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            if not is_postgresql(self._engine):
                self._connection.execute(text(f"PRAGMA busy_timeout = {WAIT}"))
                self._connection.commit()
        return self._connection


def _unrevoked(grant_id: str) -> ColumnElement[bool]:
    return and_(approval_grants.c.id == grant_id, approval_grants.c.revoked_at.is_(None))


def _refused(how: str) -> Refusal:
    return refuse(
        "SP1801",
        "the approval cannot be recorded",
        f"The gateway's database could not be {how}.",
        "Tell the gateway's operator; try again once recording works again.",
    )


def _values(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "status": request.status.value,
        "requester": msgspec.to_builtins(request.subject),
        "rule": request.rule,
        "reviewers": list(request.reviewers),
        "quorum": request.quorum,
        "kind": request.kind,
        "touches": list(request.touches),
        "created": request.created,
        "expires_at": request.expires_at,
        "mode": request.mode,
        "in_transaction": request.in_transaction,
        "void_reason": request.void_reason,
        "grant_id": request.grant,
        "further": msgspec.to_builtins(request.additional),
        "owner": request.owner,
    }


def _request(
    row: Row[Any], decisions: tuple[Decision, ...], binding: bytes, preview: Any
) -> Request:
    return Request(
        id=row.id,
        binding=msgspec.msgpack.decode(binding, type=Binding),
        subject=msgspec.convert(row.requester, Requester),
        rule=row.rule,
        reviewers=tuple(row.reviewers),
        quorum=row.quorum,
        kind=row.kind,
        touches=tuple(row.touches),
        created=row.created,
        expires_at=row.expires_at,
        mode=row.mode,
        in_transaction=row.in_transaction,
        status=Status(row.status),
        decisions=decisions,
        preview=None if preview is None else msgspec.convert(preview, Preview),
        void_reason=row.void_reason,
        grant=row.grant_id,
        additional=msgspec.convert(row.further, tuple[ApprovalRequirement, ...]),
        owner=row.owner,
    )


def _decision_values(request: Request, number: int, decision: Decision) -> dict[str, Any]:
    return {"approval": request.id, "number": number, **msgspec.to_builtins(decision)}


def _decision(row: Row[Any]) -> Decision:
    fields = {str(name): value for name, value in row._mapping.items()}
    del fields["approval"], fields["number"]
    return msgspec.convert(fields, Decision)


def _grant_values(grant: Grant) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(grant)
    fields["requester"] = fields.pop("subject")
    return fields


def _grant(row: Row[Any]) -> Grant:
    fields = {str(name): value for name, value in row._mapping.items()}
    fields["subject"] = fields.pop("requester")
    return msgspec.convert(fields, Grant)
