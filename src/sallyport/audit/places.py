"""Where recordings lie: each in the directory of the day on which its session began, once."""

from __future__ import annotations

from pathlib import Path

from sallyport.audit.archive import recording_files, relative_path
from sallyport.audit.ports import SessionRow
from sallyport.audit.verify import INDEX, INSERTION, Verification, VerificationProblem

#: Seconds by which the clocks of a file's place and of its row may differ.
_BETWEEN_CLOCKS = (-2.0, 0.0, 2.0)


class RecordingPlaces:
    """The files below ``directory`` that are named as recordings. ``files``: by session id."""

    def __init__(self, directory: Path) -> None:
        self.files = recording_files(directory)

    def file(self, session: str) -> Path | None:
        """The file of this name that is read where the index names none."""
        return self.files[session][-1] if session in self.files else None

    def check(self, result: Verification, row: SessionRow | None) -> None:
        """Add to the verdict on a recording what is wrong with its place. ``row``: the index'."""
        for path in self.files.get(result.session, ()):
            if path != result.path and len(self.files[result.session]) > 1:
                text = f"another file has the name of this recording: {path}"
                result.problems.append(VerificationProblem(INSERTION, text))
        if row is not None and not _is_in_place(row):
            text = f"file: the index says {row.file!r}, which is not the day of its start"
            result.problems.append(VerificationProblem(INDEX, text))


def _is_in_place(row: SessionRow) -> bool:
    try:
        moments = [row.started + seconds for seconds in _BETWEEN_CLOCKS]
        return row.file in [relative_path(row.id, moment) for moment in moments]
    except (TypeError, ValueError, OverflowError, OSError):
        return False
