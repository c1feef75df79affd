"""What a token must be: its signature, header, times, audience. Most forgeries here are signed by
the issuer's own key.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jwe, jwt
from joserfc.jwk import OctKey, RSAKey

from sallyport.core.clock import ManualClock
from sallyport.core.secret import Secret
from sallyport.demo.issuer import new_signing_key
from sallyport.identity.oidc.jwt import party_problem
from sallyport.identity.settings import IssuerSettings
from tests.identity.door import VAGUE, Door
from tests.identity.provider import Provider, encoded, sign

MakeDoor = Callable[..., Door]


# Signature and algorithm


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(
    "algorithm",
    [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
        "Ed25519",
    ],
)
def test_every_asymmetric_algorithm(
    algorithm: str, make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    provider = make_provider(algorithm)
    door = make_door(provider.url)
    assert door.login(provider.token()).groups == {"claude-postgres"}
    stranger = new_signing_key(algorithm)
    assert door.refusal(provider.token(key=stranger, header={"kid": provider.key.kid})) == VAGUE
    assert "signature" in door.reason


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("signature", ["", "AA"])
def test_alg_none(provider: Provider, door: Door, name: str, signature: str) -> None:
    header = encoded({"alg": name, "typ": "JWT", "kid": provider.key.kid})
    assert door.refusal(Secret(f"{header}.{encoded(provider.claims())}.{signature}")) == VAGUE


def test_alg_none_with_a_genuine_signature(provider: Provider, door: Door) -> None:
    signature = provider.token().reveal().split(".")[2]
    header = encoded({"alg": "none", "kid": provider.key.kid})
    token = f"{header}.{encoded(provider.claims())}.{signature}"
    assert door.refusal(Secret(token)) == VAGUE


@pytest.mark.parametrize("form", ["pem", "der", "jwk", "n"])
def test_hmac_keyed_with_the_public_key(
    form: str, make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    provider = make_provider("RS256")
    assert isinstance(provider.key, RSAKey)
    public = RSAKey.import_key(provider.key.as_dict(private=False))
    numbers = public.public_key
    secret = {
        "pem": public.as_pem(private=False),
        "der": numbers.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "jwk": json.dumps(provider.published[0]).encode(),
        "n": str(public.as_dict()["n"]).encode(),
    }[form]
    door = make_door(provider.url)
    header = {"alg": "HS256", "typ": "JWT", "kid": provider.key.kid}
    signed = f"{encoded(header)}.{encoded(provider.claims())}"
    signature = hmac.digest(secret, signed.encode(), "sha256")
    assert door.refusal(Secret(f"{signed}.{encoded(signature)}")) == VAGUE
    assert "HS256 is not accepted" in door.reason


def test_a_symmetric_key_in_the_key_set_is_not_used(provider: Provider, door: Door) -> None:
    secret = OctKey.generate_key(256)
    provider.published.append(
        {**secret.as_dict(private=True), "kid": "shared", "alg": "HS256", "use": "sig"}
    )
    token = jwt.encode(
        {"alg": "HS256", "kid": "shared"}, provider.claims(), secret, algorithms=["HS256"]
    )
    assert door.refusal(Secret(token)) == VAGUE
    door.login(provider.token())


def test_the_key_type_must_match_the_algorithm(provider: Provider, door: Door) -> None:
    rsa = new_signing_key("RS256")
    provider.published.append(provider.public(rsa))
    door.login(sign(rsa, "RS256", provider.claims()))
    assert door.refusal(sign(rsa, "RS256", provider.claims(), {"kid": provider.key.kid})) == VAGUE
    assert "not exactly one key" in door.reason


def test_a_curve_belongs_to_its_algorithm(
    provider: Provider, door: Door, make_provider: Callable[..., Provider]
) -> None:
    p384 = new_signing_key("ES384")
    provider.published.append(provider.public(p384))
    _, payload, signature = sign(p384, "ES384", provider.claims()).reveal().split(".")
    claimed = encoded({"alg": "ES256", "kid": p384.kid})
    assert door.refusal(Secret(f"{claimed}.{payload}.{signature}")) == VAGUE
    assert "not exactly one key" in door.reason


def test_a_key_made_for_one_algorithm_is_not_used_for_another(
    make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    provider = make_provider("RS256")
    provider.published = [provider.public(provider.key, alg="PS256")]
    door = make_door(provider.url)
    assert door.refusal(provider.token()) == VAGUE
    door.login(sign(provider.key, "PS256", provider.claims()))


def test_the_header_cannot_bring_its_own_key(provider: Provider, door: Door) -> None:
    stranger = new_signing_key("ES256")
    for extra in (
        {"jwk": provider.public(stranger)},
        {"jku": f"{provider.url}/other"},
        {"x5u": f"{provider.url}/other", "x5c": ["AAAA"]},
    ):
        assert (
            door.refusal(provider.token(key=stranger, header={"kid": provider.key.kid, **extra}))
            == VAGUE
        )
    assert provider.asked["/other"] == 0


def test_kid_may_be_left_out_when_one_key_fits(provider: Provider, door: Door) -> None:
    provider.published.append(provider.public(new_signing_key("RS256")))
    door.login(provider.token(header={"kid": None}))


def test_kid_is_needed_when_two_keys_fit(provider: Provider, door: Door) -> None:
    provider.published.append(provider.public(new_signing_key("ES256")))
    assert door.refusal(provider.token(header={"kid": None})) == VAGUE
    door.login(provider.token())


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"cty": "JWT"},
        {"enc": "A256GCM"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": 7},
        {"kid": 7},
        {"kid": ["a"]},
    ],
)
def test_headers_that_mean_something_else(
    provider: Provider, door: Door, header: dict[str, Any]
) -> None:
    full = {"alg": "ES256", "kid": provider.key.kid, **header}
    token = f"{encoded(full)}.{encoded(provider.claims())}"
    genuine = provider.token().reveal().split(".")[2]
    assert door.refusal(Secret(f"{token}.{genuine}")) == VAGUE
    assert "signature" not in door.reason


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
def test_types_of_access_tokens(provider: Provider, door: Door, kind: str | None) -> None:
    door.login(provider.token(header={"typ": kind}))


def test_unknown_header_parameters_are_ignored(provider: Provider, door: Door) -> None:
    door.login(provider.token(header={"x5t": "abc", "nonce": "n" * 700}))


def test_encrypted_tokens_are_refused(provider: Provider, door: Door) -> None:
    key = RSAKey.generate_key(2048)
    nested = jwe.encrypt_compact(
        {"alg": "RSA-OAEP", "enc": "A256GCM", "cty": "JWT"}, provider.token().reveal(), key
    )
    assert door.refusal(Secret(nested)) == VAGUE
    assert "JWE" in door.reason


# Claims: only explained once the signature holds


def test_wrong_issuer(provider: Provider, door: Door) -> None:
    for issuer in (
        "https://evil.example.com",
        provider.url + "/",
        provider.url.upper(),
        7,
        ["a"],
        None,
    ):
        assert door.refusal(provider.token(iss=issuer)) == VAGUE


def test_one_issuer_cannot_speak_for_another(
    make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    ours, partner = make_provider(), make_provider()
    door = make_door(ours.url, partner.url)
    assert door.login(ours.token()).issuer == ours.url
    assert door.login(partner.token()).issuer == partner.url
    assert door.refusal(partner.token(iss=ours.url)) == VAGUE
    assert door.refusal(partner.token(iss=ours.url, header={"kid": ours.key.kid})) == VAGUE


@pytest.mark.parametrize("audience", ["sallyport", ["sallyport"], ["other", "sallyport"]])
def test_audiences_that_include_the_gateway(
    provider: Provider, door: Door, audience: object
) -> None:
    door.login(provider.token(aud=audience))


@pytest.mark.parametrize("mark", [{"nonce": "n"}, {"at_hash": "h"}, {"c_hash": "h"}, {"typ": "ID"}])
def test_an_id_token_of_another_client(
    provider: Provider, door: Door, mark: dict[str, str]
) -> None:
    audience = ["sallyport", "chat"]
    refusal = door.refusal(provider.token(aud=audience, azp="chat", **mark))
    assert "issued to another client" in refusal
    door.login(provider.token(aud=audience, azp="sallyport", **mark))
    door.login(provider.token(aud=audience, **mark))


def test_an_access_token_names_the_program_that_acts(provider: Provider, door: Door) -> None:
    assert door.login(provider.token(azp="chat")).agent == "chat"


@pytest.mark.parametrize("azp", ["chat", "", 7, ["sallyport"]])
def test_where_only_id_tokens_are_taken(azp: object) -> None:
    settings = IssuerSettings("https://idp.test", "sallyport")
    assert party_problem({"azp": azp}, settings, True) is not None
    assert party_problem({"azp": "sallyport"}, settings, True) is None
    assert party_problem({}, settings, True) is None


@pytest.mark.parametrize(
    ("audience", "message"),
    [
        ("other", "the token is for audience other, this gateway expects sallyport"),
        (["a", "b"], "the token is for audience a, b, this gateway expects sallyport"),
        ([], "the token is for audience nobody, this gateway expects sallyport"),
        ("sallyport ", "the token is for audience sallyport , this gateway expects sallyport"),
        (
            "\x1b[2Jsally\u202e",
            "the token is for audience ?[2Jsally?, this gateway expects sallyport",
        ),
        (None, "the token has no audience, this gateway expects sallyport"),
        ({"sallyport": 1}, "the token has no audience, this gateway expects sallyport"),
        (["sallyport", 7], "the token has no audience, this gateway expects sallyport"),
    ],
)
def test_audiences_that_do_not(
    provider: Provider, door: Door, audience: object, message: str
) -> None:
    assert door.refusal(provider.token(aud=audience)) == f"[SP1601] {message}"


def test_claims_are_not_discussed_before_the_signature_holds(
    provider: Provider, door: Door
) -> None:
    stranger = new_signing_key("ES256")
    for claims in (
        {"aud": "other"},
        {"exp": 1},
        {"nbf": 9_999_999_999},
        {"groups": 7},
        {"sub": None},
    ):
        assert (
            door.refusal(provider.token(key=stranger, header={"kid": provider.key.kid}, **claims))
            == VAGUE
        )


T = int(ManualClock().now())


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": T - 31}, "the token expired 31 seconds ago"),
        ({"exp": T - 30}, "the token expired 30 seconds ago"),
        ({"exp": T - 200}, "the token expired 3 minutes ago"),
        ({"exp": T - 7300}, "the token expired 2 hours ago"),
        ({"exp": 0}, "the token expired 19675 days ago"),
        ({"exp": -1e300}, "the token expired"),
        ({"exp": None}, "the token never expires (no exp claim)"),
        ({"exp": "tomorrow"}, "the token's exp claim is not a time"),
        ({"exp": True}, "the token's exp claim is not a time"),
        ({"exp": [T + 60]}, "the token's exp claim is not a time"),
        ({"exp": 10**400}, "the token's exp claim is not a time"),
        ({"nbf": T + 31}, "the token is not valid until 31 seconds from now"),
        ({"nbf": "x"}, "the token's nbf claim is not a time"),
        ({"iat": T + 90}, "the token is not valid until 1 minute from now"),
    ],
)
def test_times_that_refuse(
    provider: Provider, door: Door, claims: dict[str, Any], message: str
) -> None:
    assert door.refusal(provider.token(**claims)).startswith(f"[SP1601] {message}")


@pytest.mark.parametrize(
    "claims", [{"exp": T - 29}, {"exp": T + 0.5}, {"nbf": T + 30}, {"iat": T + 30}, {"iat": None}]
)
def test_times_within_the_skew(provider: Provider, door: Door, claims: dict[str, Any]) -> None:
    door.login(provider.token(**claims))


def test_the_skew_is_configurable(provider: Provider, make_door: MakeDoor) -> None:
    strict = make_door(provider.url, clock_skew=0)
    assert "expired 0 seconds ago" in strict.refusal(provider.token(exp=T))
    strict.login(provider.token(exp=T + 1))


def test_maximum_age(provider: Provider, make_door: MakeDoor, clock: ManualClock) -> None:
    door = make_door(provider.url, max_token_age=300)
    token = provider.token(exp=T + 86_400)
    assert door.login(token).expires_at == T + 330
    clock.advance(329)
    door.login(token)
    clock.advance(1)
    assert (
        door.refusal(token)
        == "[SP1601] the token was issued 5 minutes ago, this gateway accepts 5 minutes"
    )
    assert "no iat claim" in door.refusal(provider.token(iat=None))


def test_required_claims(provider: Provider, make_door: MakeDoor) -> None:
    door = make_door(provider.url, required_claims={"email_verified": True, "tid": ["t1", "t2"]})
    door.login(provider.token(email_verified=True, tid="t2"))
    assert (
        door.refusal(provider.token(email_verified=True, tid="t3"))
        == "[SP1601] the token's tid claim is not what this gateway requires"
    )


# What is remembered


def test_a_remembered_token_still_expires(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    token = provider.token()
    assert door.login(token, "a").label == "a"
    assert door.login(token, "b").label == "b"
    clock.advance(629)
    door.login(token)
    clock.advance(1)
    assert "expired" in door.refusal(token)


def test_a_remembered_token_goes_with_its_key(
    provider: Provider, door: Door, clock: ManualClock
) -> None:
    token = provider.token(exp=T + 86_400)
    door.login(token)
    provider.rotate()
    door.login(token)  # the gateway has not looked yet
    clock.advance(301)
    assert door.refusal(token) == VAGUE


def test_the_memory_is_bounded(provider: Provider, make_door: MakeDoor) -> None:
    door = make_door(provider.url, remembered=3)
    tokens = [provider.token(sub=f"s{n}") for n in range(9)]
    for _ in range(2):
        assert [door.login(token).id for token in tokens] == [f"s{n}" for n in range(9)]
    assert len(door.jwt._verified) == 3


def test_the_log_says_whose_token_it_was_once_the_signature_held(
    provider: Provider, door: Door
) -> None:
    door.refusal(provider.token(aud=["other", "more\x1b[2J"], sub="ann"))
    (refused,) = [entry for entry in door.log if entry["event"] == "login_refused"]
    assert (refused["reason"], refused["subject"]) == ("wrong audience", "ann")
    assert (refused["issuer"], refused["audience"]) == (provider.url, "other, more?[2J")
    door.login(provider.token(groups=["b", "a"]))
    assert door.log[-1]["groups"] == ["a", "b"]


def test_the_log_says_nothing_of_a_token_that_anybody_could_have_made(
    provider: Provider, door: Door
) -> None:
    token = provider.token(sub="root")
    head, body, _ = token.reveal().split(".")
    door.refusal(Secret(f"{head}.{body}.{'A' * 86}"))
    (refused,) = [entry for entry in door.log if entry["event"] == "login_refused"]
    assert "subject" not in refused


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "../../../../dev/null",
        "' OR 1=1 --",
        "/etc/passwd",
        "http://127.0.0.1:1/jwks",
        "\u0000",
        "x" * 8000,
    ],
)
def test_a_kid_is_a_name_and_nothing_else(provider: Provider, door: Door, kid: str) -> None:
    """It leads to no file, no address and no query, and to one fetch of the keys."""
    assert door.refusal(provider.token(header={"kid": kid})) == VAGUE
    assert set(provider.asked) <= {"/.well-known/openid-configuration", "/jwks"}
    assert "passwd" not in door.reason or "kid" in door.reason
    assert len(door.reason) < 300


def test_a_kid_of_another_key_does_not_lend_its_signature(provider: Provider, door: Door) -> None:
    first = provider.key
    second = new_signing_key("ES256")
    provider.published += [provider.public(second)]
    assert door.login(provider.token()).id == "ada"
    assert door.refusal(provider.token(key=second, header={"kid": first.kid})) == VAGUE
    assert door.login(provider.token(key=second)).id == "ada"


def test_a_kid_that_two_keys_share_is_none(provider: Provider, door: Door) -> None:
    """An issuer that publishes somebody else's key under a name that is taken: neither counts."""
    eve = new_signing_key("ES256")
    provider.published += [{**provider.public(eve), "kid": provider.key.kid}]
    assert door.refusal(provider.token()) == VAGUE
    assert door.refusal(provider.token(key=eve, header={"kid": provider.key.kid})) == VAGUE


def test_a_signature_of_one_algorithm_under_the_name_of_another(
    make_provider: Callable[..., Provider], make_door: MakeDoor
) -> None:
    provider = make_provider("RS256")
    door = make_door(provider.url)
    header, claims, signature = provider.token().reveal().split(".")
    for name in ("PS256", "RS512", "ES256", "HS256", "EdDSA", "none", "rs256"):
        renamed = encoded({"alg": name, "typ": "JWT", "kid": provider.key.kid})
        assert door.refusal(Secret(f"{renamed}.{claims}.{signature}")) == VAGUE
    assert door.login(Secret(f"{header}.{claims}.{signature}")).id == "ada"


@pytest.mark.parametrize(
    "audience",
    [
        ["other", "sallyport "],
        ["sallyport/"],
        ["SALLYPORT"],
        ["other", ["sallyport"]],
        {"sallyport": 1},
        True,
        [None, "sallyport"],
    ],
)
def test_audience_lists_that_only_look_right(provider: Provider, door: Door, audience: Any) -> None:
    door.refusal(provider.token(aud=audience))


def test_an_audience_list_does_not_make_an_id_token_ours(provider: Provider, door: Door) -> None:
    """Another client's ID token that lists us as well."""
    door.refusal(provider.token(aud=["other-client", "sallyport"], azp="other-client", nonce="n"))
    door.refusal(provider.token(aud=["other-client", "sallyport"], azp="other-client", at_hash="h"))
    assert (
        door.login(provider.token(aud=["other-client", "sallyport"], azp="sallyport", nonce="n")).id
        == "ada"
    )
