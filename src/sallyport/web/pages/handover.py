"""Pages that stand alone: one file, opened from a disk, that loads nothing and runs nothing but its
own script.

The content policy stands in the page (CSP 3, section 3.3: a meta element) and allows the one
stylesheet and the one script in it by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from typing import Any, Final

from markupsafe import Markup

import sallyport
from sallyport.audit import replay as rp
from sallyport.audit.ports import SessionRow
from sallyport.core.wording import counted
from sallyport.operations.auditreport import AuditReport
from sallyport.web.pages import plots
from sallyport.web.pages.rendering import environment
from sallyport.web.pages.sessions import scenes

#: Steps that are turned into markup at once.
_CHUNK: Final = 300


def asset(name: str) -> Markup:
    """A file of ``web/static``, to be put into a page. It must not end the element that it stands
    in.
    """
    text = files("sallyport.web").joinpath("static", name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - ours


def content_policy(style: str, script: str = "") -> str:
    """Nothing may be loaded or sent; this stylesheet and this script may act."""
    allowed = f"default-src 'none'; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    return f"{allowed}; script-src {_hash(script)}" if script else allowed


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(template: str, *, script: str = "", **values: Any) -> Iterator[str]:
    """The parts of a page, made as they are asked for. ``script``: a file of ``web/static``, "" for
    none.
    """
    style = asset("console.css") + asset("handover.css")
    code = asset(script) if script else Markup("")
    values |= {"style": style, "script": code, "policy": content_policy(style, code)}
    return environment().get_template(template).generate(**values)


def replay_page(row: SessionRow, steps: Iterable[rp.Step], limit: int) -> Iterator[str]:
    """The session as one page. ``limit``: rows of each result that are shown; the rest is counted
    in the page.
    """
    return page(
        "handover-replay.html",
        script="handover.js",
        row=row,
        batches=_batches(_limited(steps, limit)),
    )


def report_page(report: AuditReport) -> Iterator[str]:
    """The report as one page, for the screen and for paper."""
    names = "%m-%d %H:%M" if report.span < 86400 else "%m-%d"
    columns = [
        (datetime.fromtimestamp(at, UTC).strftime(names), counts) for at, counts in report.spans
    ]
    span = "hour" if report.span < 86400 else "day"
    busiest = [
        (row.email or row.subject, row.target, row.verdicts.total()) for row in report.access[:6]
    ]
    columns_read = [(row.column, "", row.readers.total()) for row in report.columns]
    plots_made = {
        "over_time": plots.stacked(f"Statements per {span} by verdict", columns),
        "by_code": plots.bars(
            "Refusals by code", [(c, "", n) for c, n in report.codes.most_common(6)], "deny"
        ),
        "by_identity": plots.bars("Statements by identity", busiest),
        "by_column": plots.bars(
            "Statements by masked column",
            sorted(columns_read, key=lambda row: -row[2])[:6],
            "allow",
        ),
    }
    return page(
        "audit-report.html",
        report=report,
        span=span,
        outside=_outside(report, span),
        counted=counted,
        version=sallyport.__version__,
        **plots_made,
    )


def _outside(report: AuditReport, span: str) -> str:
    """Says that the plot leaves out where the period begins or ends without statements."""
    if not report.spans:
        return ""
    first, last = report.spans[0][0], report.spans[-1][0]
    if first <= report.since and last + report.span >= report.until:
        return ""
    return f"The {counted(len(report.spans), span)} shown; no statement in the rest of the period."


def _batches(steps: Iterator[rp.Step]) -> Iterator[list[Any]]:
    while batch := tuple(islice(steps, _CHUNK)):
        yield scenes(batch)


def _limited(steps: Iterable[rp.Step], limit: int) -> Iterator[rp.Step]:
    """Without rows behind ``limit``; a remark says how many these were."""
    shown = more = 0
    for step in steps:
        if isinstance(step, rp.ResultRow):
            shown += 1
            if shown <= limit:
                yield step
            else:
                more += 1
            continue
        if more:
            yield rp.Remark(step.at, "rows", f"{more} more are in the recording")
        shown = more = 0
        yield step
    if more:
        yield rp.Remark(0.0, "rows", f"{more} more are in the recording")
