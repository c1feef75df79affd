"""Operations of the REST interface: receipts of statements."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from sallyport.operations.receipts import NoReceiptError, receipt_for
from sallyport.web.api.operations import FAR, Call, Operation, ProblemError, not_found


class ReceiptData(msgspec.Struct, frozen=True):
    """``receipt``: a signed note, for 'sallyport audit check-receipt'. ``opening``: base64; whoever
    has it and the statement can check that they belong together, so it goes to nobody else.
    """

    receipt: str
    opening: str


async def make_receipt(call: Call) -> Any:
    """``POST /sessions/{id}/statements/{number}/receipt``."""
    written, data = call.path("number"), call.services.directories.get("data")
    if not written.isdecimal() or not 0 < int(written[:19]) <= FAR:
        raise not_found("The number of a statement is 1 or more.")
    if data is None:
        raise ProblemError(503, "No receipts", "This gateway has no data directory.")
    call.doing.object_id = call.path("id")
    call.doing.add({"number": written})
    try:
        made = await run_in_threadpool(
            receipt_for,
            call.principal,
            call.services.sessions,
            data,
            call.path("id"),
            int(written[:19]),
        )
    except NoReceiptError as error:
        raise not_found(str(error)) from None
    return {"receipt": made.note, "opening": made.opening}


RECEIPTS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/sessions/{id}/statements/{number}/receipt",
        "makeReceipt",
        "receipts.make",
        "A signed receipt for a recorded statement: of one's own session, or with sessions.read.",
        make_receipt,
        ReceiptData,
        errors=(404, 503),
    ),
)
