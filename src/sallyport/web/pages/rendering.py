"""Templates: everything that is put into a page is made inert and escaped, unless it is markup made
here.

The environment's ``finalize`` runs on every expression, so a template cannot forget it: control
characters, bidi overrides, zero-width characters and terminal escapes come out as visible escapes
(:func:`sallyport.audit.display.inert`), and autoescape does the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup, escape

from sallyport.audit.display import inert, outcome_of
from sallyport.web.pages.sqltext import highlight


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return inert(value, newlines=True)
    return "" if value is None else value


def moment(seconds: float | None) -> Markup:
    """Unix seconds as a time element, UTC."""
    if seconds is None:
        return Markup("")
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return Markup("?")
    return Markup(
        "<time"
        f' datetime="{at.strftime("%Y-%m-%dT%H:%M:%SZ")}">{at.strftime("%Y-%m-%d %H:%M:%S")}</time>'
    )


def duration(seconds: float | None) -> str:
    """A length of time for people."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def cut(text: str | None, length: int = 400) -> str:
    """A value, bounded."""
    shown = inert(text or "")
    return shown if len(shown) <= length else f"{shown[:length]}… ({len(shown)} characters)"


def cut_lines(text: str, length: int = 2000) -> str:
    """A statement, bounded; line feeds stay."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"


def scrollable(text: str, label: str) -> Markup:
    """Attributes of an element that scrolls when the text is long: then the keyboard has to reach
    it, and what it is has a name.
    """
    if len(text) <= 300 and text.count("\n") < 8:
        return Markup("")
    return Markup(f' tabindex="0" role="group" aria-label="{escape(inert(label))}"')


def badge(word: str) -> Markup:
    """A status or verdict with its colour."""
    classes = {
        "allow": "good", "approved": "good", "used": "good", "live": "good", "ready": "good",
        "hold": "wait", "pending": "wait", "waiting for approval": "wait", "interrupted": "wait",
        "masked": "good", "clear and looks personal": "wait",
        "done": "good", "allowed": "good", "held": "wait", "deny": "bad", "denied": "bad",
        "refused": "bad", "voided": "bad", "not ready": "bad", "failed": "bad",
        "high": "bad", "medium": "wait", "new": "wait",
    }  # fmt: skip
    return Markup(f'<span class="badge {classes.get(word, "other")}">{escape(inert(word))}</span>')


def environment() -> jinja2.Environment:
    """The only template environment."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("sallyport.web", "templates"),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        sql=highlight,
        moment=moment,
        duration=duration,
        cut=cut,
        cut_lines=cut_lines,
        badge=badge,
        outcome=outcome_of,
        scrollable=scrollable,
    )
    return made
