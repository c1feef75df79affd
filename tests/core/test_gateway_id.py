"""An id belongs to one data directory: a copy of it is another gateway."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sallyport.core import gateway_id as module
from sallyport.core.gateway_id import FILE, gateway_id


def test_it_stays_and_a_copy_has_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    first = gateway_id(data)
    assert re.fullmatch(r"[0-9a-f]{8}", first)
    assert gateway_id(data) == first
    shutil.copytree(data, tmp_path / "copy")
    assert (tmp_path / "copy" / FILE).read_text().startswith(first)
    copied = gateway_id(tmp_path / "copy")
    assert copied != first
    assert gateway_id(tmp_path / "copy") == copied
    assert gateway_id(data) == first
    # The same path in another container or on another machine.
    data.rename(tmp_path / "away")
    shutil.copytree(tmp_path / "away", data)
    assert gateway_id(data) != first
    here = gateway_id(data)
    (tmp_path / "machine-id").write_text("another machine\n")
    monkeypatch.setattr(module, "_MACHINE", tmp_path / "machine-id")
    assert gateway_id(data) != here


@pytest.mark.parametrize("text", ["", "deadbeef", "DROP ROLE x", "deadbeef 00", "\udcff"])
def test_what_is_not_ours_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert gateway_id(tmp_path) not in ("", "deadbeef")
