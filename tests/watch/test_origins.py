"""Where an agent comes from, and with what: told when it is new and new ones are rare."""

from __future__ import annotations

from sallyport.watch.finding import Severity
from sallyport.watch.intake import Observation
from sallyport.watch.recent import block_of
from tests.watch.test_detectors import ORDERS, often


def test_a_new_network_and_a_new_program_once() -> None:
    world = often()
    world.network = "203.0.113.0/24"
    (finding,) = world.do(Observation(ORDERS, 1, 1, 1, 1))
    assert (finding.detector, finding.severity) == ("origin", Severity.MEDIUM)
    assert "203.0.113.0/24" in finding.evidence
    world.program = "pgcli"
    (finding,) = world.do(Observation(ORDERS, 1, 1, 1, 1))
    assert (finding.detector, finding.severity) == ("origin", Severity.LOW)
    world.now += 2 * 3600
    assert world.run(ORDERS, rows=1) == [], "it is learned"


def test_who_always_comes_from_elsewhere_is_no_finding() -> None:
    world = often()
    for number in range(10):
        world.network, world.program = f"10.9.{number}.0/24", f"job {number}"
        world.run(ORDERS, rows=1)
        world.now += 700
    world.network = "10.8.0.0/24"
    assert "origin" not in world.run(ORDERS, rows=1)


def test_who_comes_from_ever_new_networks_stays_in_their_block() -> None:
    world = often()
    for number in range(100):
        world.network = f"10.9.{number}.0/24"
        world.run(ORDERS, rows=1)
        world.now += 700
    world.network = "10.200.7.0/24"
    assert world.run(ORDERS, rows=1) == []
    world.now += 700
    world.network = "203.0.113.0/24"
    (finding,) = world.do(Observation(ORDERS, 1, 1, 1, 1))
    assert (finding.detector, finding.about) == ("origin", "block")
    assert "203.0.0.0/8" in finding.evidence
    world.now += 2 * 3600
    world.network = "203.0.114.0/24"
    assert world.run(ORDERS, rows=1) == [], "it is learned"


def test_blocks_of_networks() -> None:
    assert block_of("192.0.2.0/24") == "192.0.0.0/8"
    assert block_of("2001:db8:1::/48") == "2001::/16"
    assert block_of("socket") == block_of("") == ""
