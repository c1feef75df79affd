"""Searching for garbage, which several threads may put off at once."""

from __future__ import annotations

import gc

from sallyport.core.interpreter import without_collecting
from sallyport.sql.text.parse import parse


def test_with_the_last_of_several_garbage_is_searched_for_again() -> None:
    first, second = without_collecting(), without_collecting()
    first.__enter__()
    second.__enter__()  # another thread, which finds that it is put off already
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_where_it_was_put_off_before_it_stays_so() -> None:
    gc.disable()
    try:
        with without_collecting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_large_statements_are_read_without_searching() -> None:
    phases: list[str] = []
    gc.callbacks.append(lambda phase, info: phases.append(phase))
    try:
        rows = ",".join(f"({number}, 'text')" for number in range(9000))
        parse(f"INSERT INTO t VALUES {rows}".encode())
    finally:
        gc.callbacks.pop()
    assert gc.isenabled()
    assert phases.count("start") < 90, "each row is ten objects, and a collection looks at 700"
