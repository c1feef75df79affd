"""Receipts of recorded statements, for the command line and REST."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sallyport.audit.ports import SESSION
from sallyport.audit.receipts import find_statement, open_secret, opening_of, receipt_of
from sallyport.audit.tlog.keyfile import FILE, read_key
from sallyport.audit.tlog.notes import encode_base64
from sallyport.core.errors import SallyportError
from sallyport.operations.access import Principal
from sallyport.operations.sessions import Sessions, UnknownSessionError


class NoReceiptError(SallyportError):
    """There is no such statement in the record, or not yet; the text says why."""


@dataclass(frozen=True, slots=True)
class MadeReceipt:
    """note: the signed receipt. opening: with which whoever has the statement can check that they
    belong together; base64.
    """

    note: str
    opening: str


def make_receipt(sessions: Sessions, data: Path, session: str, number: int) -> MadeReceipt:
    """Of statement ``number`` of a session. data: the data directory, with the log's key. Reads the
    recording. Raises SallyportError (RecordingError), OSError.
    """
    tail = sessions.tail(sessions.find(session))
    key = read_key(data / FILE)
    recorded = find_statement(tail.path, tail.session_id, number, tail.keys)
    secret = open_secret(data)
    note = receipt_of(recorded, tail.session_id, secret).sign(key)
    return MadeReceipt(str(note), encode_base64(opening_of(secret, tail.session_id, number)))


def receipt_for(
    who: Principal, sessions: Sessions, data: Path, session: str, number: int
) -> MadeReceipt:
    """As :func:`make_receipt`, for the subject whose session it is, and for whoever may read it.
    ``session``: the whole id. sessions: without an authorization of their own. Raises
    NoReceiptError: who may not read it does not learn that it is there.
    """
    who.require("receipts.make")
    missing = f"There is no statement {number} of yours in the record of {session}."
    try:
        row = sessions.find(session)
    except UnknownSessionError:
        raise NoReceiptError(missing) from None
    is_own = (row.issuer, row.subject) == (who.subject.issuer, who.subject.id)
    if row.id != session or row.kind != SESSION or not (is_own or who.may("sessions.read")):
        raise NoReceiptError(missing)
    try:
        return make_receipt(sessions, data, session, number)
    except OSError as error:
        name = os.path.basename(error.filename or "")
        raise NoReceiptError(f"{name}: {error.strerror}") from None
    except SallyportError as error:
        raise NoReceiptError(str(error)) from None
