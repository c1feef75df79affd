"""An assertion that one process used is used for all, until it is refused anyway."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from sallyport.identity.replay import MessageUse
from sallyport.store.tables import used_assertions
from sallyport.store.used_messages import SqlUsedMessageStore

NOW = 1_800_000_000.0


def test_once_for_all_processes(engine: Engine) -> None:
    here, there = SqlUsedMessageStore(engine), SqlUsedMessageStore(engine)
    use = MessageUse("https://idp.example.com", "_1", NOW + 300)
    assert here.use(use.digest, use.until, NOW)
    assert not there.use(use.digest, use.until, NOW + 1)
    assert not here.use(use.digest, use.until, NOW + 2)
    for fresh in (
        MessageUse("https://idp.example.com", "_2", NOW + 300),
        MessageUse("https://another.example.com", "_1", NOW + 300),
    ):
        assert there.use(fresh.digest, fresh.until, NOW)


def test_what_has_run_out_is_deleted(engine: Engine) -> None:
    store = SqlUsedMessageStore(engine)
    for number in range(5):
        assert store.use(f"{number}", NOW + 300, NOW)
    assert store.use("late", NOW + 20_000, NOW + 10_000)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(used_assertions)).scalar()
    assert count == 1
