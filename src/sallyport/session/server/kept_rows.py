"""How many of a statement's rows are recorded: ``record.results`` of the policy and its rules."""

from __future__ import annotations

from collections.abc import Iterable

from sallyport.judge import Verdict
from sallyport.policy.model import FULL_RESULTS, RESULTS
from sallyport.session.server.entries import Entry
from sallyport.session.state import SessionState

#: Rows of a ``sample``.
SAMPLE = 100


def kept_rows(
    session: SessionState, entry: Entry, verdicts: Iterable[Verdict], rows: bytes | None
) -> bytes | None:
    """Those of ``rows`` (DataRow messages) that are recorded; None: all. What is left out is said
    once. ``rows``: None for a part of a row, and for data of COPY, of which there is no sample.
    """
    extent = max((verdict.results for verdict in verdicts), key=RESULTS.index)
    if extent == FULL_RESULTS:
        return None
    number, kept = entry.rows_kept
    if number != entry.number:
        kept = 0
    end, data, maximum = 0, rows or b"", SAMPLE if extent == "sample" else 0
    while kept < maximum and end < len(data):
        end += 1 + int.from_bytes(data[end + 1 : end + 5], "big")
        kept += 1
    if (rows is None or end < len(data)) and entry.rows_left_out != entry.number:
        entry.rows_left_out = entry.number
        first = f"the first {kept} rows" if kept else "no rows"
        session.recorder.note(
            "results",
            f"{first} of statement {entry.number} are recorded, and how many there were"
            f" (record.results: {extent})",
        )
    entry.rows_kept = entry.number, kept
    return data[:end]
