"""Sign-ins of consoles in a store."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from sallyport.core.errors import RefusedError
from sallyport.store.sign_ins import SqlSignInStore
from sallyport.store.tables import console_sign_ins

NOW = 1_800_000_000.0


def test_for_all_processes(engine: Engine) -> None:
    here, there = SqlSignInStore(engine), SqlSignInStore(engine)
    here.add("a", b"\x00body", NOW, NOW + 100)
    assert there.get("a") == (b"\x00body", NOW)
    assert there.get("b") is None
    there.touch("a", NOW + 10, NOW + 110)
    assert here.get("a") == (b"\x00body", NOW + 10)
    there.remove("a")
    here.touch("a", NOW + 20, NOW + 120)
    assert here.get("a") is None
    here.remove("a")


def test_what_has_run_out_is_deleted(engine: Engine) -> None:
    store = SqlSignInStore(engine)
    for number in range(5):
        store.add(f"{number}", b"", NOW, NOW + 100)
    store.touch("0", NOW + 50, NOW + 150)
    store.add("late", b"", NOW + 101, NOW + 300)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(console_sign_ins)).scalar()
    assert count == 2
    assert store.get("0") == (b"", NOW + 50)


def test_a_store_that_is_gone(engine: Engine) -> None:
    store = SqlSignInStore(engine)
    console_sign_ins.drop(engine)
    for call in (
        lambda: store.add("a", b"", NOW, NOW),
        lambda: store.get("a"),
        lambda: store.touch("a", NOW, NOW),
        lambda: store.remove("a"),
    ):
        with pytest.raises(RefusedError):
            call()
