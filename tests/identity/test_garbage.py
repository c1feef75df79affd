"""Whatever is sent as a token: a subject or a polite refusal, nothing else, and never its text in a
log.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws

from sallyport.core.secret import Secret
from tests.identity.door import VAGUE, Door
from tests.identity.provider import Provider, encoded
from tests.support.sampling import examples


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "hunter2-is-my-database-password",
        "e30.e30.e30",
        "e30.e30.",
        "\x00\x00.\x00.\x00",
        "é.é.é",
        "\udcff\udcfe.\udc80.\udc80",
        "A" * 16_385,
        "A" * 3_000_000,
        ".".join(["A" * 6_000] * 3),
        ".".join(["A"] * 5),
        "=.=.=",
    ],
)
def test_garbage(door: Door, text: str) -> None:
    assert door.refusal(Secret(text)) == VAGUE


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"7",
        b'"x"',
        b"null",
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"iss":"a","iss":"b"}',
        b'{"iss":NaN}',
        b"[" * 9_000,
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b'{"iss":"\\ud800"}',
        b'{"exp":' + b"9" * 5_000 + b"}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_claims_that_are_not_a_json_object(provider: Provider, door: Door, payload: bytes) -> None:
    header = encoded({"alg": "ES256", "kid": provider.key.kid})
    assert door.refusal(Secret(f"{header}.{encoded(payload)}.AAAA")) == VAGUE
    assert door.refusal(Secret(f"{encoded(payload)}.{header}.AAAA")) == VAGUE


@pytest.mark.parametrize(
    "extra", ['"sub":"root"', '"aud":"sallyport"', '"x":NaN', '"x":"\\ud800"', '"x":1,']
)
def test_signed_claims_that_are_not_strict_json(provider: Provider, door: Door, extra: str) -> None:
    """Two readers could read these differently, so nobody reads them, although the signature is
    genuine.
    """
    payload = json.dumps(provider.claims())[:-1] + "," + extra + "}"
    header = {"alg": provider.algorithm, "kid": provider.key.kid}
    token = jws.serialize_compact(header, payload, provider.key, algorithms=[provider.algorithm])
    assert door.refusal(Secret(token)) == VAGUE
    assert "JSON" in door.reason


def test_a_token_of_just_under_16_kb_works(provider: Provider, door: Door) -> None:
    token = provider.token(padding="x" * 11_900)
    assert 16_000 < len(token.reveal()) <= 16_384
    door.login(token)
    assert door.refusal(provider.token(padding="x" * 12_300)) == VAGUE


def test_signatures_of_odd_lengths(provider: Provider, door: Door) -> None:
    signed = provider.token().reveal().rpartition(".")[0]
    for signature in (b"\0", b"\0" * 64, b"\xff" * 64, b"\0" * 63, b"\0" * 1000):
        assert door.refusal(Secret(f"{signed}.{encoded(signature)}")) == VAGUE


_any_text = st.one_of(
    st.text(max_size=300),
    st.binary(max_size=300).map(lambda data: data.decode("latin-1")),
    st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.lists(st.binary(max_size=120).map(encoded), min_size=1, max_size=6).map(".".join),
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_fixture = settings(
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@given(text=_any_text)
@_fixture
def test_any_bytes_are_refused_politely(door: Door, text: str) -> None:
    assert door.refusal(Secret(text)) == VAGUE


@given(header=_json, claims=_json, signature=st.binary(max_size=80))
@_fixture
def test_any_json_is_refused_politely(
    door: Door, header: object, claims: object, signature: bytes
) -> None:
    assert (
        door.refusal(Secret(f"{encoded(header)}.{encoded(claims)}.{encoded(signature)}")) == VAGUE
    )


@given(
    name=st.sampled_from(["sub", "azp", "groups", "email", "nbf", "iat", "exp", "aud", "cnf"]),
    value=_json,
)
@_fixture
def test_signed_claims_of_any_shape_are_judged(
    provider: Provider, door: Door, name: str, value: object
) -> None:
    """A genuine signature over nonsense: a subject or a refusal, nothing else."""
    try:
        token = provider.token(**{name: value})
    except ValueError:
        return
    door.run(door.try_login(token))
    assert door.log[-1]["event"] in ("login", "login_refused")


@given(data=st.data())
@_fixture
def test_one_changed_character_is_refused(
    provider: Provider, door: Door, data: st.DataObject
) -> None:
    text = provider.token().reveal()
    # the last character has bits that carry nothing
    place = data.draw(st.integers(0, len(text) - 3))
    replacement = data.draw(
        st.sampled_from("ABCXYZabcxyz019-_.= ~").filter(lambda char: char != text[place])
    )
    assert door.refusal(Secret(text[:place] + replacement + text[place + 1 :])) == VAGUE
