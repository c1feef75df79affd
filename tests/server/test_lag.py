"""How far the recorder is behind, from how much it accepted and wrote."""

from __future__ import annotations

from sallyport.server.lag import RecorderLag


def test_nothing_waits() -> None:
    lag = RecorderLag()
    assert lag.seconds(10.0, 0) == 0
    lag.note(10.0, 500, 500)
    assert lag.seconds(99.0, 500) == 0


def test_the_oldest_that_waits_counts() -> None:
    lag = RecorderLag()
    lag.note(10.0, 500, 0)
    lag.note(11.0, 500, 0)
    lag.note(12.0, 900, 0)
    assert lag.seconds(15.0, 499) == 5
    assert lag.seconds(15.0, 500) == 3
    lag.note(16.0, 1200, 900)
    assert lag.seconds(17.0, 900) == 1
    assert lag.seconds(17.0, 1200) == 0


def test_it_stays_small_while_nothing_is_recorded() -> None:
    """A recorder that cannot write while nothing new comes has one mark, however long that
    lasts.
    """
    lag = RecorderLag()
    for second in range(1000):
        lag.note(float(second), 500, 0)
    assert lag.seconds(1000.0, 0) == 1000
    assert len(lag._marks) == 1
