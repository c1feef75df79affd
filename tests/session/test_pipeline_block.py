"""A block that the gateway opens in the middle of a pipeline, as a transcript."""

from __future__ import annotations

from collections.abc import Callable

from sallyport.session.server.writer import ServerWriter
from sallyport.wire import backend, frontend
from tests.session.playbook import IN_BLOCK, NOTHING, Stage, client, does, done, play, server
from tests.session.test_simple import asks_own


def test_behind_a_schema_change_in_a_pipeline_a_block_is_opened(
    new_stage: Callable[[], Stage],
) -> None:
    """The second would be judged by what names meant before the first."""
    first, second = (
        "ALTER TABLE products ADD COLUMN z integer",
        "ALTER TABLE products DROP COLUMN sku",
    )
    change = [frontend.parse(b"", first.encode()), frontend.bind(b"", b""), frontend.execute(b"")]
    done_so_far = (backend.parse_complete(), backend.bind_complete(), done("ALTER TABLE"))
    begun = (backend.parse_complete(), backend.bind_complete(), done("BEGIN"))
    closed = (backend.close_complete(), backend.close_complete())
    play(
        new_stage,
        client >> b"".join(change),
        server << tuple(change),
        client >> frontend.parse(b"", second.encode()),
        server << frontend.flush(),
        server >> done_so_far,
        client << done_so_far,
        server << _begins_in_pipeline(),
        server >> (*begun, *closed, IN_BLOCK),
        client << NOTHING,
        asks_own,
        does(lambda run: run.session.resume(refreshed=True)),
        server << frontend.parse(b"", second.encode()),
    )


def _begins_in_pipeline() -> bytes:
    writer = ServerWriter()
    writer.begin_in_pipeline()
    return bytes(writer.take())
