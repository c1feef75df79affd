"""Refused logins in the record: every one of them counted, and never more than so many a minute."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sallyport.audit.refusedlogins import (
    LOGIN,
    MOST_ADDRESSES,
    MOST_AT_ONCE,
    MOST_OF_ONE,
    REPEATED,
    SECONDS,
    RefusedLogin,
    RefusedLogins,
)
from tests.support.sampling import examples


class Sink:
    def __init__(self) -> None:
        self.now = 1000.0
        self.written: list[RefusedLogin] = []
        self.logins = RefusedLogins(self.written.append, lambda: self.now)

    def codes(self) -> Counter[str]:
        """How many refusals of each code what was written stands for."""
        counted: Counter[str] = Counter()
        for refused in self.written:
            if refused.name == REPEATED:
                pairs = [entry.split(": ") for entry in refused.details["codes"].split(", ")]
                counted.update({code: int(number) for code, number in pairs})
                assert sum(int(number) for _, number in pairs) == int(refused.details["count"])
            else:
                counted[refused.code] += 1
        return counted


def refused(address: str, code: str = "SP1601", reason: str = "expired") -> RefusedLogin:
    return RefusedLogin(address, "wire", code, reason)


REFUSALS = st.lists(
    st.tuples(
        st.sampled_from([*(f"10.0.{n // 250}.{n % 250}" for n in range(300)), "", "::1", "::2"]),
        st.sampled_from(["SP1601", "SP1603", "SP1607"]),
        st.sampled_from(["expired", "unknown issuer", "forged\nlogin done", "locked"]),
        st.sampled_from([0.0, 0.0, 0.0, 1.0, 25.0, 61.0, -5.0]),
    ),
    max_size=400,
)


@settings(max_examples=examples(60), deadline=None)
@given(REFUSALS)
def test_every_refusal_is_counted_once(attempts: list[tuple[str, str, str, float]]) -> None:
    """Whatever the order, the addresses and the clock, which may go back."""
    sink = Sink()
    for address, code, reason, passes in attempts:
        sink.now += passes
        sink.logins.add(refused(address, code, reason))
    sink.logins.close()
    assert sink.codes() == Counter(code for _, code, _, _ in attempts)


@pytest.mark.parametrize("vary", ["address", "reason", "both"])
def test_a_storm_adds_a_bounded_number_of_actions(vary: str) -> None:
    sink = Sink()
    for n in range(20_000):
        address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" if vary != "reason" else "10.0.0.1"
        sink.logins.add(refused(address, reason=f"{n}" if vary != "address" else "expired"))
    sink.now += SECONDS
    sink.logins.settle()
    assert len(sink.written) <= MOST_AT_ONCE + MOST_ADDRESSES + 1
    assert sink.codes() == Counter({"SP1601": 20_000})
    if vary == "reason":
        assert [action.name for action in sink.written] == [*[LOGIN] * MOST_OF_ONE, REPEATED]


def test_the_first_of_a_kind_is_written_at_once_and_the_rest_when_the_minute_is_over() -> None:
    sink = Sink()
    for _ in range(3):
        sink.logins.add(refused("192.0.2.7"))
    sink.logins.add(refused("192.0.2.7", reason="unknown issuer"))
    sink.logins.add(refused("192.0.2.8"))
    assert [(action.address, action.reason) for action in sink.written] == [
        ("192.0.2.7", "expired"),
        ("192.0.2.7", "unknown issuer"),
        ("192.0.2.8", "expired"),
    ]
    sink.now += SECONDS - 1
    sink.logins.settle()
    assert len(sink.written) == 3
    sink.now += 1
    sink.logins.settle()
    (repeated,) = sink.written[3:]
    assert (repeated.name, repeated.address) == (REPEATED, "192.0.2.7")
    assert repeated.details == {"count": "2", "codes": "SP1601: 2"}
    sink.logins.add(refused("192.0.2.7"))
    assert len(sink.written) == 5, "another minute says again why"


def test_one_network_of_ipv6_is_one_address() -> None:
    sink = Sink()
    for n in range(100):
        sink.logins.add(refused(f"2001:db8::{n:x}", reason=str(n)))
    assert len(sink.written) == MOST_OF_ONE
