"""PostgreSQL's scanner, and what it must not be given."""

from __future__ import annotations

import pytest

from sallyport.core.errors import RefusedError
from sallyport.sql.text.tokens import token_spans


@pytest.mark.parametrize("text", [b"/*" * 50000 + b"SELECT 1", b"SELECT 1" + b"+-" * 50000 + b"1"])
def test_what_the_scanner_reads_in_quadratic_time_is_refused(text: bytes) -> None:
    """100 kB took seven seconds, on the event loop."""
    with pytest.raises(RefusedError, match="SP1101"):
        token_spans(text)
