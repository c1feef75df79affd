"""Sealed values open with their key and in their place only."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sallyport.core.errors import ConfigError
from sallyport.store.sealing import FILE, Seal, open_seal


def test_a_value_opens_where_it_belongs(tmp_path: Path) -> None:
    seal = open_seal(tmp_path)
    sealed = seal.close(b"the value", "apr_1")
    assert b"the value" not in sealed
    assert open_seal(tmp_path).open(sealed, "apr_1") == b"the value"
    assert sealed != seal.close(b"the value", "apr_1")


def test_the_key_is_its_owners(tmp_path: Path) -> None:
    open_seal(tmp_path)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("position", [2, 14, -1])
def test_a_changed_value_does_not_open(position: int) -> None:
    seal = Seal(b"k" * 32)
    sealed = bytearray(seal.close(b"the value", "apr_1"))
    sealed[position] ^= 1
    with pytest.raises(ValueError, match="changed"):
        seal.open(bytes(sealed), "apr_1")


def test_neither_another_key_nor_another_row_opens_it() -> None:
    sealed = Seal(b"k" * 32).close(b"the value", "apr_1")
    with pytest.raises(ValueError, match="another key"):
        Seal(b"l" * 32).open(sealed, "apr_1")
    with pytest.raises(ValueError, match="another key"):
        Seal(b"k" * 32).open(sealed, "apr_2")


def test_what_an_earlier_version_kept_is_read() -> None:
    assert Seal(b"k" * 32).open(b"\x8fvalue", "apr_1") == b"\x8fvalue"


def test_digests_depend_on_the_key() -> None:
    assert Seal(b"k" * 32).digest("a") == Seal(b"k" * 32).digest("a")
    assert Seal(b"k" * 32).digest("a") != Seal(b"l" * 32).digest("a")


def test_a_file_that_is_no_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"short")
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(ConfigError, match="not a key"):
        open_seal(tmp_path)


def test_a_key_that_everybody_can_read_is_an_error(tmp_path: Path) -> None:
    open_seal(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="every user"):
        open_seal(tmp_path)
