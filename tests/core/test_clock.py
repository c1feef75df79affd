"""Times as people and programs read them."""

from __future__ import annotations

import pytest

from sallyport.core.clock import rfc3339, unix_seconds, with_times


def test_rfc3339_is_utc_with_milliseconds() -> None:
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert rfc3339(1e20) == ""
    assert unix_seconds("2023-11-14T22:13:20.250Z") == 1_700_000_000.25
    assert unix_seconds("2023-11-15T00:13:20+02:00") == 1_700_000_000


@pytest.mark.parametrize("text", ["", "today", "2026-11-29T08:00:00", "2026-13-01T00:00:00Z"])
def test_a_time_without_an_offset_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        unix_seconds(text)


def test_named_values_become_times_and_none_stays() -> None:
    values = {"id": "x", "started": 0.0, "ended": None, "rows": 3}
    assert with_times(values, "started", "ended") == {
        "id": "x",
        "started": "1970-01-01T00:00:00.000Z",
        "ended": None,
        "rows": 3,
    }
