"""Finding, keeping and losing an issuer's keys."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import OKPKey, RSAKey

from sallyport.core.clock import ManualClock
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.demo.issuer import new_signing_key
from sallyport.identity.authenticate import LoginRefused
from sallyport.identity.oidc.keys import CacheLimits
from sallyport.identity.settings import IssuerSettings
from tests.identity.door import UNREACHABLE, VAGUE, Door
from tests.identity.provider import DISCOVERY, Answer, Provider, sign

MakeDoor = Callable[..., Door]


def later(provider: Provider) -> Secret:
    """A token that outlives the test's clock changes."""
    return provider.token(exp=int(provider.clock.now()) + 10**6)


# Caching and refreshing


def test_keys_are_fetched_once(provider: Provider, door: Door, clock: ManualClock) -> None:
    for n in range(20):
        door.login(provider.token(sub=f"s{n}"))
    assert provider.key_fetches == 1


def test_a_hundred_logins_at_once_share_one_fetch(provider: Provider, door: Door) -> None:
    tokens = [provider.token(sub=f"s{n}") for n in range(100)]
    hold = threading.Event()
    document = provider.answers["/jwks"]
    provider.answers["/jwks"] = lambda: (hold.wait(5), document())[1]

    async def storm() -> list[Subject]:
        logins = [
            door.authenticator.authenticate(token, label="", entrance="wire") for token in tokens
        ]
        waiting = asyncio.gather(*logins)
        await asyncio.sleep(0.05)
        hold.set()
        return await waiting

    assert {subject.id for subject in door.run(storm())} == {f"s{n}" for n in range(100)}
    assert provider.key_fetches == 1


def test_only_so_many_logins_wait_for_a_slow_issuer(
    provider: Provider, make_door: MakeDoor
) -> None:
    door = make_door(provider.url, limits=CacheLimits(max_waiting=3))
    tokens = [provider.token(sub=f"s{n}") for n in range(8)]
    hold = threading.Event()
    document = provider.answers["/jwks"]
    provider.answers["/jwks"] = lambda: (hold.wait(5), document())[1]

    async def storm() -> list[Subject | LoginRefused]:
        outcomes = []
        for login in asyncio.as_completed([door.try_login(token) for token in tokens]):
            outcomes.append(await login)
            if len(outcomes) == 5:
                hold.set()  # so many were refused before the issuer answered
        return outcomes

    outcomes = door.run(storm())
    refused = [outcome.reason for outcome in outcomes[:5] if isinstance(outcome, LoginRefused)]
    assert len(refused) == 5 and all("wait for its keys" in reason for reason in refused)
    assert all(isinstance(outcome, Subject) for outcome in outcomes[5:])
    assert door.login(provider.token(sub="later")).id == "later"
    assert provider.key_fetches == 1


def test_a_cancelled_login_does_not_cancel_the_fetch_of_others(
    provider: Provider, door: Door
) -> None:
    hold = threading.Event()
    document = provider.answers["/jwks"]
    provider.answers["/jwks"] = lambda: (hold.wait(5), document())[1]

    async def leave_early() -> Subject:
        authenticate = door.authenticator.authenticate
        async with asyncio.TaskGroup() as group:
            first = group.create_task(authenticate(provider.token(), label="", entrance="wire"))
            await asyncio.sleep(0.05)
            second = group.create_task(
                authenticate(provider.token(sub="b"), label="", entrance="wire")
            )
            await asyncio.sleep(0.05)
            first.cancel()
            hold.set()
        return second.result()

    assert door.run(leave_early()).id == "b"
    assert provider.key_fetches == 1


@pytest.mark.parametrize(
    ("cache_control", "ttl"),
    [
        ("max-age=300", 300),
        ("public, max-age=120, must-revalidate", 120),
        ("max-age=1", 60),
        ("no-store", 60),
        ("max-age=99999999", 3600),
        ("", 600),
        ("max-age=soon", 600),
    ],
)
def test_cache_control_is_respected_within_bounds(
    provider: Provider, door: Door, clock: ManualClock, cache_control: str, ttl: int
) -> None:
    provider.cache_control = cache_control
    door.login(later(provider))
    clock.advance(ttl * 0.8 - 1)
    door.login(later(provider))
    assert provider.key_fetches == 1
    clock.advance(ttl * 0.2 + 1)
    door.login(later(provider))
    assert provider.key_fetches == 2


def test_a_refresh_before_the_end_makes_nobody_wait(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    door.login(later(provider))
    hold = threading.Event()
    document = provider.answers["/jwks"]
    provider.answers["/jwks"] = lambda: (hold.wait(5), document())[1]
    clock.advance(250)
    for n in range(5):
        door.run(at_once(door, provider.token(sub=f"s{n}")))
    (source,) = door.jwt.sources.values()
    assert source._flight is not None
    hold.set()
    _wait_until(door, lambda: source._flight is None)
    clock.advance(200)  # past the first answer's time, within the second's
    door.login(provider.token())
    assert provider.key_fetches == 2


async def at_once(door: Door, token: Secret) -> Subject:
    """A login that must not wait for anything: it ends without giving way to the event loop
    once.
    """
    login = door.authenticator.authenticate(token, label="", entrance="wire")
    try:
        login.send(None)
    except StopIteration as done:
        subject: Subject = done.value
        return subject
    raise AssertionError("the login waits")


def _wait_until(door: Door, condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        door.run(asyncio.sleep(0.01))
    raise AssertionError("it never happened")


def test_a_rotated_key_is_found_at_once(provider: Provider, door: Door, clock: ManualClock) -> None:
    door.login(provider.token())
    clock.advance(11)
    old = provider.rotate()
    door.login(provider.token())
    assert provider.key_fetches == 2
    assert door.refusal(provider.token(key=old)) == VAGUE


def test_a_storm_of_unknown_kids_is_one_fetch_per_interval(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    door.login(provider.token())
    stranger = new_signing_key("ES256")

    async def storm(count: int) -> None:
        forged = [provider.token(key=stranger, header={"kid": f"kid-{n}"}) for n in range(count)]
        outcomes = await asyncio.gather(*(door.try_login(token) for token in forged))
        assert all(isinstance(outcome, LoginRefused) for outcome in outcomes)

    for fetches in (2, 3, 4):
        clock.advance(10)
        for _ in range(3):
            door.run(storm(30))
        assert provider.key_fetches == fetches
    door.login(provider.token(sub="b"))


# Outages


def test_start_while_the_issuer_is_down(provider: Provider, door: Door, clock: ManualClock) -> None:
    provider.down()
    assert door.refusal(provider.token()) == UNREACHABLE
    assert "ConnectError" in door.reason
    provider.up()
    assert door.refusal(provider.token()) == UNREACHABLE  # nobody asks again so soon
    clock.advance(5)
    door.login(provider.token())


def test_cached_keys_bridge_an_outage_for_a_while(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    door.login(later(provider))
    provider.down()
    clock.advance(300 + 14_399)
    door.login(later(provider))
    clock.advance(1)
    assert door.refusal(later(provider)) == UNREACHABLE
    assert "too old" in door.reason
    clock.advance(5)
    provider.up()
    door.login(later(provider))


def test_a_remembered_token_does_not_outlive_the_stale_bound(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    token = later(provider)
    door.login(token)
    provider.down()
    clock.advance(300 + 14_400)
    assert door.refusal(token) == UNREACHABLE


def test_an_issuer_that_hangs_delays_nobody_who_can_be_served(
    provider: Provider, make_door: MakeDoor, clock: ManualClock
) -> None:
    door = make_door(provider.url, limits=CacheLimits(timeout=0.3))
    door.login(later(provider))
    release = threading.Event()
    provider.answers[DISCOVERY] = lambda: (release.wait(10), provider.json({}))[1]
    clock.advance(301)
    door.login(later(provider))  # this one waited, and found out
    for n in range(5):
        clock.advance(6)
        door.run(at_once(door, provider.token(sub=f"s{n}")))
    release.set()


def test_a_slow_issuer_stops_nobody_else(
    make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    slow, quick = make_provider(), make_provider()
    asked, release = threading.Event(), threading.Event()
    document = slow.answers["/jwks"]
    slow.answers["/jwks"] = lambda: (asked.set(), release.wait(30), document())[2]
    door = make_door(slow.url, quick.url, limits=CacheLimits(timeout=30))

    async def both() -> Subject | LoginRefused:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(door.try_login(slow.token()))
            await asyncio.to_thread(asked.wait, 30)
            for n in range(5):
                await door.authenticator.authenticate(
                    quick.token(sub=f"s{n}"), label="", entrance="wire"
                )
            assert not waiting.done()
            release.set()
        return waiting.result()

    assert isinstance(door.run(both()), Subject)


def test_a_silent_issuer_is_given_up(provider: Provider, make_door: MakeDoor) -> None:
    release = threading.Event()
    provider.answers["/jwks"] = lambda: (release.wait(30), provider.json({}))[1]
    door = make_door(provider.url, limits=CacheLimits(timeout=0.5))
    assert door.refusal(provider.token()) == UNREACHABLE
    release.set()
    assert "did not answer within 0.5 s" in door.reason


def test_a_dripping_issuer_is_cut_off(provider: Provider, make_door: MakeDoor) -> None:
    """Every read succeeds in time; the whole does not."""

    def drip() -> None:
        peer, _ = listener.accept()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while not done.wait(0.05):
                peer.sendall(b" ")
        except OSError:
            pass
        peer.close()

    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()
    thread = threading.Thread(target=drip)
    thread.start()
    port = listener.getsockname()[1]
    settings = IssuerSettings(provider.url, "sallyport", jwks_url=f"http://127.0.0.1:{port}/jwks")
    door = make_door(settings, limits=CacheLimits(timeout=0.4))
    assert door.refusal(provider.token()) == UNREACHABLE
    assert "did not answer within 0.4 s" in door.reason
    done.set()
    thread.join()
    listener.close()


# What the issuer answers


def answered(provider: Provider, door: Door, answer: Answer, path: str = "/jwks") -> str:
    """The logged reason of a login when ``path`` answers so."""
    provider.answers[path] = lambda: answer
    assert door.refusal(provider.token()) == UNREACHABLE
    return door.reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b""), "not a JSON object"),
        ((200, {}, b"<html>maintenance</html>"), "not a JSON object"),
        ((200, {}, b"[]"), "not a JSON object"),
        ((200, {}, b"\xff\xff"), "not a JSON object"),
        ((200, {}, b"[" * 200_000), "not a JSON object"),
        ((200, {}, b"{}"), "no list of keys"),
        ((200, {}, b'{"keys": {}}'), "no list of keys"),
        ((200, {}, b'{"keys": []}'), "no key that can check a signature"),
        ((200, {}, json.dumps({"keys": [{}] * 101}).encode()), "more than 100"),
        ((200, {}, b'{"keys": [' + b" " * 262_144 + b"]}"), "larger than 262144 bytes"),
        ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"\0" * 50), "content encoding"),
        ((200, {"Content-Length": "5000"}, b"{}"), "cannot be fetched"),
        ((204, {}, b""), "status 204"),
        ((404, {}, b"{}"), "status 404"),
        ((500, {}, b'{"keys": []}'), "status 500"),
    ],
)
def test_key_sets_that_are_not(provider: Provider, door: Door, answer: Answer, reason: str) -> None:
    assert reason in answered(provider, door, answer)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "is about 'None'"),
        (
            {"issuer": "https://evil.example.com", "jwks_uri": "https://evil.example.com/jwks"},
            "is about",
        ),
        ({"issuer": "SELF"}, "no jwks_uri"),
        ({"issuer": "SELF", "jwks_uri": 7}, "no jwks_uri"),
        ({"issuer": "SELF", "jwks_uri": "http://evil.example.com/jwks"}, "no usable jwks_uri"),
        ({"issuer": "SELF", "jwks_uri": "file:///etc/passwd"}, "no usable jwks_uri"),
        ({"issuer": "SELF", "jwks_uri": "https://user:pass@h/jwks"}, "no usable jwks_uri"),
    ],
)
def test_discovery_documents_that_mislead(
    provider: Provider, door: Door, document: dict[str, Any], reason: str
) -> None:
    text = json.dumps(document).replace("SELF", provider.url)
    assert reason in answered(provider, door, (200, {}, text.encode()), DISCOVERY)
    assert provider.key_fetches == 0


def test_redirects_to_another_host_are_not_followed(
    make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    evil, provider = make_provider(), make_provider()
    door = make_door(provider.url)
    assert "redirects to another host" in answered(
        provider, door, (302, {"Location": f"{evil.url}/jwks"}, b"")
    )
    assert not evil.asked


def test_redirects_within_the_issuer_are_followed_a_little(
    provider: Provider, make_door: MakeDoor
) -> None:
    provider.answers["/moved"] = provider.answers["/jwks"]
    provider.answers["/jwks"] = lambda: (302, {"Location": "/moved"}, b"")
    make_door(provider.url).login(provider.token())
    assert "more than 3 redirects" in answered(
        provider, make_door(provider.url), (302, {"Location": "/jwks"}, b"")
    )


@pytest.mark.filterwarnings("ignore:Key size")
def test_usable_keys_among_garbage(provider: Provider, door: Door) -> None:
    small = RSAKey.generate_key(1024)
    for_encryption = new_signing_key("ES256")
    good = provider.published[0]
    provider.published = [
        None,
        7,
        "key",
        [],
        {},
        {"kty": "RSA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "tiny"},
        {"kty": "RSA", "n": "!!!", "e": 3},
        {"kty": ["EC"], "crv": "P-256"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "off-curve"},
        {"kty": "EC", "crv": "P-999", "x": "AAAA", "y": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {**OKPKey.generate_key("X25519").as_dict(private=False), "kid": "x"},
        {"kty": "LATTICE", "pub": "AAAA"},
        {**good, "kid": 7},
        provider.public(small),
        {**provider.public(for_encryption), "use": "enc"},
        {**for_encryption.as_dict(private=False), "key_ops": ["deriveBits"]},
        {**good, "x5c": ["garbage"], "unknown": {"a": 1}},
    ]
    door.login(provider.token())
    assert door.refusal(sign(small, "RS256", provider.claims())) == VAGUE
    assert door.refusal(provider.token(key=for_encryption)) == VAGUE


def test_a_private_key_published_by_accident_still_only_checks(
    provider: Provider, door: Door
) -> None:
    provider.published = [provider.key.as_dict(private=True)]
    door.login(provider.token())
    (source,) = door.jwt.sources.values()
    assert source._ring is not None
    assert not any(key.key.is_private for key in source._ring.keys)


def test_a_failed_refresh_keeps_the_keys(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    door.login(provider.token())
    provider.answers["/jwks"] = lambda: (200, {}, b'{"keys": []}')
    clock.advance(301)
    door.login(provider.token())
    assert provider.key_fetches == 2
    assert door.log[-2]["event"] == "issuer_keys_unavailable"


def test_jwks_url_needs_no_discovery(provider: Provider, make_door: MakeDoor) -> None:
    make_door(provider.url, jwks_url=f"{provider.url}/jwks").login(provider.token())
    assert provider.asked == {"/jwks": 1}


def test_an_issuer_with_a_path(make_provider: Callable[..., Provider], make_door: MakeDoor) -> None:
    provider = make_provider(path="/realms/shop")
    make_door(provider.url).login(provider.token())
    assert provider.asked["/realms/shop" + DISCOVERY] == 1


def test_environment_proxies_are_not_used(
    provider: Provider, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    door.login(provider.token())
