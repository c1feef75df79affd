"""``sallyport sessions replay`` into files (a page, an asciicast), and as psql on the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.audit.replay import Step
    from sallyport.audit.verify import VerificationProblem
    from sallyport.operations.sessions import Sessions


def write(
    sessions: Sessions,
    session: str,
    html: Path | None,
    cast: Path | None,
    rows: int,
    max_pause: float,
    on_problem: Callable[[VerificationProblem], None],
) -> None:
    """Raises SallyportError for a file that cannot be written."""
    row = sessions.find(session)
    if html is not None:
        from sallyport.web.pages.handover import replay_page

        write_private(html, replay_page(row, sessions.replay(row.id, on_problem), rows))
    if cast is not None:
        from sallyport.cli.transcript import PsqlTranscript, asciicast

        ignored = on_problem if html is None else lambda problem: None
        texts = PsqlTranscript(rows).texts(sessions.replay(row.id, ignored))
        title = f"{row.subject} on {row.target}, session {row.id}"
        write_private(
            cast, (f"{line}\n" for line in asciicast(texts, title, row.started, max_pause))
        )


def play(steps: Iterable[Step], rows: int, pause: Callable[[float], None] | None) -> None:
    """On standard output, at the recorded pace unless ``pause`` is None."""
    from sallyport.cli.transcript import PsqlTranscript

    last = 0.0
    for at, text in PsqlTranscript(rows).texts(steps):
        if pause is not None and at > last:
            pause(at - last)
        last = max(last, at)
        typer.echo(text, nl=False)


def write_private(file: Path, parts: Iterable[str]) -> None:
    """Write the file with mode 0600, replacing it once all of it is there. Raises
    SallyportError.
    """
    draft = file.with_name(f".{file.name}.new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as out:
            out.writelines(parts)
        os.replace(draft, file)
    except OSError as error:
        raise SallyportError(f"cannot write {file}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
