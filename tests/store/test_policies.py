"""Versions of the policy in the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from sallyport.operations.policies import PolicyVersions, UnknownVersionError, compared
from sallyport.policy.versions import PolicyVersion
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.writer import Writer
from tests.support.stores import Store


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    writer = Writer(engine, interval=0.01)
    writer.start()
    yield writer
    writer.close()


def version(name: str, loaded: float = 1.0) -> PolicyVersion:
    return PolicyVersion(
        name, f"text of {name}\n", "p.yaml", loaded, "the file changed", "root", 0.5
    )


def test_versions_are_kept_in_order_and_what_is_the_same_once(
    engine: Engine, writer: Writer, store: Store
) -> None:
    kept = SqlPolicyVersions(engine, writer)
    port: PolicyVersions = kept
    for name in ("a", "a", "b", "a", "a"):
        kept.keep(version(name))
        assert writer.flush()
    assert [(stored.id, stored.version) for stored in port.recent()] == [
        (3, "a"),
        (2, "b"),
        (1, "a"),
    ]
    assert port.get(2) == PolicyVersion(
        "b", "text of b\n", "p.yaml", 1.0, "the file changed", "root", 0.5, 2
    )
    again = SqlPolicyVersions(readonly := store.readonly())
    assert again.before(3) == again.get(2)
    readonly.dispose()
    later = SqlPolicyVersions(engine, writer)
    later.keep(version("a"))
    assert writer.flush()
    assert len(port.recent()) == 3, "after a restart as well"


def test_compared(engine: Engine, writer: Writer) -> None:
    kept = SqlPolicyVersions(engine, writer)
    for name in ("a", "b", "c"):
        kept.keep(version(name))
        assert writer.flush()
    newer, older, lines = compared(kept, 3)
    assert (newer.version, older.version) == ("c", "b")  # type: ignore[union-attr]
    assert [(line.kind, line.text) for line in lines] == [
        ("removed", "text of b"),
        ("added", "text of c"),
    ]
    assert compared(kept, 3, 1)[1] == kept.get(1)
    assert compared(kept, 1)[1] is None
    for wrong in ((4, None), (1, 9)):
        with pytest.raises(UnknownVersionError):
            compared(kept, *wrong)


def test_the_oldest_go(engine: Engine, writer: Writer) -> None:
    kept = SqlPolicyVersions(engine, writer)
    for number in range(10):
        kept.keep(version(str(number), float(number)))
    assert writer.flush()
    assert [stored.version for stored in SqlPolicyVersions(engine, writer, maximum=3).recent()] == [
        "9",
        "8",
        "7",
    ]
