"""One baseline of an agent for all gateways of a store.

A gateway tells the store what it learned since it last did, as a :class:`LessonBatch`, and gets the
baseline with everything that others learned. The store has one baseline for each agent, whatever
the number of gateways. A batch has an id, so that it is merged once even when nobody knows whether
it was. Pure; :mod:`sallyport.store.watching` has the transactions.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from sallyport.watch.baseline import DAY, Baseline, Learning, Lesson, new_baseline
from sallyport.watch.sketches import restored, stored

log = structlog.get_logger("sallyport.watch")

#: Ids of batches that a baseline remembers.
_REMEMBERED: Final = 64
_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=stored)
_DECODER: Final = msgspec.msgpack.Decoder(Baseline, dec_hook=restored)


class LessonBatch(msgspec.Struct, frozen=True):
    """generation: of the baseline that it goes into. since, half_life: of that, where there is none
    yet.
    """

    id: str
    generation: float
    since: float
    half_life: float
    lessons: list[Lesson]


def decoded(data: bytes | None) -> Baseline | None:
    """None for what cannot be read: it is learned anew."""
    if not data:
        return None
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        log.error("a baseline cannot be read; it is learned anew", error=str(error))
        return None


def merged(data: bytes | None, batch: LessonBatch) -> bytes:
    """The baseline with what a batch teaches. A batch of a later generation begins it anew; one of
    an earlier generation, and one that is in it, changes nothing.
    """
    baseline = decoded(data)
    if baseline is None or baseline.generation < batch.generation:
        baseline = new_baseline(batch.since, Learning(half_life_days=batch.half_life / DAY))
        baseline.generation = batch.generation
    elif baseline.generation > batch.generation or batch.id in baseline.merged:
        return data or b""
    baseline.since = min(baseline.since, batch.since)
    for lesson in batch.lessons:
        baseline.learn(lesson)
    baseline.merged = [*baseline.merged, batch.id][-_REMEMBERED:]
    return _ENCODER.encode(baseline)
