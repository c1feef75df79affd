"""What else may be due when people have answered for a statement that waits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sallyport.session.commands import RefreshCatalog
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.wire.frontend import query
from tests.session.playbook import (
    FAILED,
    FAILS,
    IDLE,
    Run,
    Stage,
    asks,
    client,
    does,
    done,
    play,
    refused,
    server,
)
from tests.session.test_holding import APPROVED, DELETE, DENIED, HOLDS, POLICY, WAITS


@pytest.fixture
def new_stage(catalog: CatalogSnapshot) -> Callable[[], Stage]:
    return lambda: Stage(catalog, POLICY)


def test_an_answer_counts_although_something_else_is_due(new_stage: Callable[[], Stage]) -> None:
    """The catalog is to be read again for other sessions: a denial is not forgotten over that, nor
    is a statement asked about twice.
    """

    def due(run: Run) -> None:
        run.session.names.refresh_due = True

    play(
        new_stage,
        HOLDS,
        client >> query(DELETE),
        WAITS,
        does(due),
        DENIED,
        server << FAILS,
        server >> (FAILED, IDLE),
        client << (refused("SP1402"), IDLE),
        asks(RefreshCatalog),
    )
    play(
        new_stage,
        HOLDS,
        client >> query(DELETE),
        WAITS,
        does(due),
        APPROVED,
        server << query(DELETE),
        server >> (done("DELETE 1"), IDLE),
        client << (done("DELETE 1"), IDLE),
        asks(RefreshCatalog),
    )
