"""Single logout with a real provider (npm samlp), and what attackers make of its messages. Judged
by who is signed in afterwards.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import httpx2
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree
from signxml.algorithms import CanonicalizationMethod
from signxml.signer import XMLSigner

from sallyport.core.clock import ManualClock
from sallyport.core.subject import Subject
from sallyport.identity.problems import IdentityProblem
from sallyport.identity.saml.xml import NAMESPACES, SamlError, tag
from sallyport.identity.single_logout import LogoutRequest, LogoutResponse
from tests.identity.saml_provider import (
    SLO,
    Pair,
    SamlIdp,
    ServiceProvider,
    form_of,
    new_pair,
    opened,
    packed,
    saml_idp,
    secret,
)

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SamlIdp]:
    with saml_idp(tmp_path_factory.mktemp("samlidp")) as running:
        yield running


@pytest.fixture
def now() -> ManualClock:
    return ManualClock(time.time())


@pytest.fixture
def sp(idp: SamlIdp, now: ManualClock) -> ServiceProvider:
    pair = idp.sp_pair
    return ServiceProvider(idp, now, key=secret(pair), certificate=pair.certificate)


def read(sp: ServiceProvider, carried: Any) -> LogoutRequest | LogoutResponse:
    """Of a query, or of a form."""
    query, form = (carried, None) if isinstance(carried, str) else ("", list(carried.items()))
    return asyncio.run(sp.provider.read_logout(query, form))


def ends(sp: ServiceProvider, carried: Any) -> LogoutRequest:
    message = read(sp, carried)
    assert isinstance(message, LogoutRequest)
    sp.provider.end(message.ended)
    return message


def refusal(sp: ServiceProvider, carried: Any) -> str:
    with pytest.raises(SamlError) as refused:
        read(sp, carried)
    assert "ada" not in str(refused.value)
    return str(refused.value)


def query_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 302, answer.text
    return urlsplit(answer.headers["Location"]).query


def inflated(query: str, name: str = "SAMLRequest") -> etree._Element:
    return etree.fromstring(zlib.decompress(base64.b64decode(parse_qs(query)[name][0]), -15))


# -- what must end a session -----------------------------------------------------------------------


@pytest.mark.parametrize("binding", ["redirect", "post"])
def test_the_providers_request_ends_its_session(
    idp: SamlIdp, sp: ServiceProvider, binding: str
) -> None:
    ada = sp.subject(idp.response(sessionIndex="_index"))
    again = sp.subject(idp.response(sessionIndex="_another"))
    assert ada.claims["session_index"] == ["_index"]
    answer = idp.logout(binding=binding)
    request = ends(sp, query_of(answer) if binding == "redirect" else form_of(answer.text))
    assert sp.provider.is_over(ada)
    problem = sp.provider.still_accepted(ada)
    assert isinstance(problem, IdentityProblem)
    assert "signed out" in problem.message
    assert not sp.provider.is_over(again)
    # The provider takes our answer: signed, to its request, with its relay state.
    answered = asyncio.run(sp.provider.logout_response(request, is_done=True))
    assert bool(answered.fields) == (binding == "post")
    if answered.fields:
        done = httpx2.post(answered.url, data=answered.fields, trust_env=False)
    else:
        done = httpx2.get(answered.url, trust_env=False)
    assert done.status_code == 200, done.text


def test_without_an_index_every_session_of_the_name_is_over(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock
) -> None:
    ada, late = (sp.subject(idp.response(sessionIndex=index)) for index in ("_1", "_2"))
    eve = sp.subject(idp.response(user={"id": "eve", "claims": {}}, sessionIndex="_1"))
    request = ends(sp, query_of(idp.logout(sessionIndex="")))
    assert request.ended.indexes == ()
    assert sp.provider.is_over(ada)
    assert sp.provider.is_over(late)
    assert not sp.provider.is_over(eve)
    # What began after it is another session.
    assert not sp.provider.is_over(sp.subject(idp.response(sessionIndex="_3")))


def test_an_assertion_that_comes_after_the_logout_is_refused(
    idp: SamlIdp, sp: ServiceProvider
) -> None:
    late = idp.response(sessionIndex="_index")
    ends(sp, query_of(idp.logout()))
    assert "ended this session" in sp.refusal(late)


def test_signing_out_ends_what_the_provider_issued_meanwhile(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock
) -> None:
    """Another console, or a token, by a later assertion of the same session."""
    ada = sp.subject(idp.response(sessionIndex="_index"))
    later = replace(ada, claims={**ada.claims, "issue_instant": now.now() + 30})
    another = replace(later, claims={**later.claims, "session_index": ["_another"]})
    now.advance(60)
    sp.provider.end(sp.provider.session_of(ada))
    assert sp.provider.is_over(ada)
    assert sp.provider.is_over(later)
    assert not sp.provider.is_over(another)


def test_a_session_without_an_index_ends_with_any(idp: SamlIdp, sp: ServiceProvider) -> None:
    ada = sp.subject(idp.response())
    assert ada.claims["session_index"] == []
    ends(sp, query_of(idp.logout()))
    assert sp.provider.is_over(ada)


def test_no_attribute_stands_in_for_the_session(idp: SamlIdp, sp: ServiceProvider) -> None:
    claims = {"session_index": "_mine", "issue_instant": "9e9", "name_qualifier": "x"}
    ada = sp.subject(idp.response(user={"id": "ada", "claims": claims}, sessionIndex="_index"))
    assert ada.claims["session_index"] == ["_index"]
    assert ada.claims["name_qualifier"] == ""
    ends(sp, query_of(idp.logout()))
    assert sp.provider.is_over(ada)


@pytest.mark.parametrize("binding", ["redirect", "post"])
def test_our_request_is_understood_by_the_provider(
    idp: SamlIdp, now: ManualClock, binding: str
) -> None:
    pair = idp.sp_pair
    idp.takes_part()
    sp = ServiceProvider(idp, now, key=secret(pair), certificate=pair.certificate, binding=binding)
    asked = asyncio.run(sp.provider.request("_request"))
    if asked.fields:
        signed_in = httpx2.post(asked.url, data=asked.fields, trust_env=False).json()
    else:
        signed_in = httpx2.get(asked.url, trust_env=False).json()
    idp_has = sp.subject(signed_in["SAMLResponse"])
    onward = asyncio.run(sp.provider.logout_request(idp_has, "_bye"))
    if onward.fields:
        answer = httpx2.post(onward.url, data=onward.fields, trust_env=False)
        message = read(sp, form_of(answer.text))
    else:
        answer = httpx2.get(onward.url, trust_env=False)
        message = read(sp, query_of(answer))
    assert message == LogoutResponse("_bye", "")
    sp.provider.end(sp.provider.session_of(idp_has))
    assert sp.provider.is_over(idp_has)
    # The provider has no such session any more: our request is not answered with a success.
    again = asyncio.run(sp.provider.logout_request(idp_has, "_again"))
    if again.fields:
        assert httpx2.post(again.url, data=again.fields, trust_env=False).status_code == 500
    else:
        assert httpx2.get(again.url, trust_env=False).status_code == 500


def test_no_single_logout_without_a_key(idp: SamlIdp, now: ManualClock) -> None:
    sp = ServiceProvider(idp, now)
    assert "needs 'certificate' and 'key'" in refusal(sp, query_of(idp.logout()))
    assert b"SingleLogoutService" not in sp.provider.descriptor()


# -- what must not ---------------------------------------------------------------------------------


def request_of(now: ManualClock, **changes: Any) -> etree._Element:
    """A LogoutRequest as a provider may write it, unsigned."""
    samlp, saml = NAMESPACES["samlp"], NAMESPACES["saml"]
    attributes: dict[str, Any] = {
        "ID": f"_{time.monotonic_ns()}",
        "Version": "2.0",
        "IssueInstant": time.strftime(FORMAT, time.gmtime(now.now())),
        "Destination": SLO,
        **{name: value for name, value in changes.items() if name[0].isupper()},
    }
    root = etree.Element(f"{{{samlp}}}{changes.get('root', 'LogoutRequest')}", nsmap={"p": samlp})
    for name, value in attributes.items():
        if value is not None:
            root.set(name, value)
    etree.SubElement(root, f"{{{saml}}}Issuer").text = changes["issuer"]
    etree.SubElement(root, f"{{{saml}}}NameID").text = "ada"
    etree.SubElement(root, f"{{{samlp}}}SessionIndex").text = "_index"
    return root


def signed_form(root: etree._Element, pair: Pair) -> dict[str, str]:
    place = etree.Element(tag("ds:Signature"), nsmap={"ds": NAMESPACES["ds"]})
    place.set("Id", "placeholder")
    root.insert(1, place)
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
    signed = signer.sign(
        root,
        key=pair.key.encode(),
        cert=pair.certificate,
        reference_uri=f"#{root.get('ID')}",
        id_attribute="ID",
    )
    return {"SAMLRequest": packed(signed)}


def signed_query(root: etree._Element, pair: Pair, algorithm: str = "rsa-sha256") -> str:
    deflate = zlib.compressobj(wbits=-15)
    text = base64.b64encode(deflate.compress(etree.tostring(root)) + deflate.flush()).decode()
    uri = f"http://www.w3.org/2001/04/xmldsig-more#{algorithm}"
    query = f"SAMLRequest={quote_plus(text)}&SigAlg={quote_plus(uri)}"
    key = serialization.load_pem_private_key(pair.key.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    kind = hashes.SHA1() if "sha1" in algorithm else hashes.SHA256()
    signature = key.sign(query.encode(), padding.PKCS1v15(), kind)
    return f"{query}&Signature={quote_plus(base64.b64encode(signature).decode())}"


@pytest.mark.parametrize("carry", [signed_form, signed_query])
def test_a_request_counts_once(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock, carry: Callable[..., Any]
) -> None:
    carried = carry(request_of(now, issuer=idp.entity_id), idp.pair)
    ends(sp, carried)
    assert "used before" in refusal(sp, carried)


@pytest.mark.parametrize("carry", [signed_form, signed_query])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Destination": "https://other.example/slo"}, "Destination"),
        ({"Destination": None}, "Destination"),
        ({"Version": "1.1"}, "not a LogoutRequest"),
        ({"issuer": "https://evil.example"}, "another provider"),
        ({"root": "LogoutResponse"}, "not a LogoutRequest"),
        ({"NotOnOrAfter": "2020-01-01T00:00:00Z"}, "expired"),
        ({"IssueInstant": "2020-01-01T00:00:00Z"}, "expired"),
        ({"IssueInstant": "2020-01-01T00:00:00Z", "NotOnOrAfter": "2099-01-01T00:00:00Z"}, "exp"),
        ({"IssueInstant": "2099-01-01T00:00:00Z"}, "future"),
        ({"IssueInstant": "yesterday"}, "xs:dateTime"),
        ({"IssueInstant": None}, "xs:dateTime"),
    ],
)
def test_genuine_but_not_for_us_or_not_now(
    idp: SamlIdp,
    sp: ServiceProvider,
    now: ManualClock,
    carry: Callable[..., Any],
    changes: dict[str, Any],
    reason: str,
) -> None:
    root = request_of(now, **{"issuer": idp.entity_id, **changes})
    assert reason in refusal(sp, carry(root, idp.pair))


def test_not_on_or_after_is_honoured_to_the_second(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock
) -> None:
    ending = time.strftime(FORMAT, time.gmtime(now.now() + 10))
    first, second = (
        signed_query(request_of(now, issuer=idp.entity_id, NotOnOrAfter=ending), idp.pair)
        for _ in range(2)
    )
    now.advance(10 + sp.settings.clock_skew - 2)
    ends(sp, first)
    now.advance(2)
    assert "expired" in refusal(sp, second)


@pytest.mark.parametrize("carry", [signed_form, signed_query])
def test_signed_by_somebody_else(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock, carry: Callable[..., Any]
) -> None:
    eve = new_pair("idp")
    assert "certificates" in refusal(sp, carry(request_of(now, issuer=idp.entity_id), eve))


def test_unsigned(idp: SamlIdp, sp: ServiceProvider, now: ManualClock) -> None:
    root = request_of(now, issuer=idp.entity_id)
    assert "not signed" in refusal(sp, {"SAMLRequest": packed(copy.deepcopy(root))})
    query = signed_query(root, idp.pair)
    assert "not signed" in refusal(sp, query.partition("&Signature=")[0])
    assert "not signed" in refusal(sp, query.replace("SigAlg=", "sigalg="))
    # A signed POST is none as a redirect, and the reverse.
    form = signed_form(copy.deepcopy(root), idp.pair)
    as_query = signed_query(opened(form["SAMLRequest"]), idp.pair)
    assert "a signature inside it" in refusal(sp, as_query)


def test_weak_algorithms(idp: SamlIdp, sp: ServiceProvider, now: ManualClock) -> None:
    query = signed_query(request_of(now, issuer=idp.entity_id), idp.pair, "rsa-sha1")
    assert "certificates" in refusal(sp, query)


@pytest.mark.parametrize(
    "change",
    [
        lambda query: query.replace("SAMLRequest=", "SAMLRequest=A", 1),
        lambda query: "RelayState=mine&" + query,
        lambda query: query + "&RelayState=mine",
        lambda query: query + "&" + query.partition("&")[0],
        lambda query: query + "&SAMLResponse=x",
        lambda query: query + "&SAMLEncoding=urn%3Aother",
        lambda query: query.partition("SAMLRequest=")[2],
        lambda query: "",
    ],
)
def test_a_query_that_was_changed(
    idp: SamlIdp, sp: ServiceProvider, now: ManualClock, change: Callable[[str], str]
) -> None:
    query = signed_query(request_of(now, issuer=idp.entity_id), idp.pair)
    refusal(sp, change(query))
    ends(sp, query)


def _wrapped_around(root: etree._Element) -> etree._Element:
    """The signed request goes into an evil one, beside its names."""
    evil = copy.deepcopy(root)
    evil.remove(evil.find(tag("ds:Signature")))
    evil.set("ID", "_evil")
    evil.find(tag("saml:NameID")).text = "root"
    evil.append(root)
    return evil


def _signature_moved_up(root: etree._Element) -> etree._Element:
    """The evil request has the signature of the genuine one, which stands inside it."""
    evil = _wrapped_around(root)
    evil.insert(1, root.find(tag("ds:Signature")))
    return evil


def _same_id(root: etree._Element) -> etree._Element:
    evil = _signature_moved_up(root)
    evil.set("ID", root.get("ID"))
    return evil


def _in_an_object(root: etree._Element) -> etree._Element:
    genuine, signature = copy.deepcopy(root), root.find(tag("ds:Signature"))
    genuine.remove(genuine.find(tag("ds:Signature")))
    holder = etree.SubElement(signature, tag("ds:Object"))
    holder.append(genuine)
    root.set("ID", "_evil")
    root.find(tag("saml:NameID")).text = "root"
    return root


def _another_name(root: etree._Element) -> etree._Element:
    root.find(tag("saml:NameID")).text = "root"
    return root


def _another_index(root: etree._Element) -> etree._Element:
    etree.SubElement(root, tag("samlp:SessionIndex")).text = "_more"
    return root


def _comment(root: etree._Element) -> etree._Element:
    root.find(tag("saml:NameID")).insert(0, etree.Comment("x"))
    return root


@pytest.mark.parametrize(
    "attack",
    [
        _wrapped_around,
        _signature_moved_up,
        _same_id,
        _in_an_object,
        _another_name,
        _another_index,
        _comment,
    ],
)
def test_signature_wrapping(
    idp: SamlIdp, sp: ServiceProvider, attack: Callable[[etree._Element], etree._Element]
) -> None:
    root = Subject("root", idp.entity_id, frozenset(), claims={"name_id": "root"})
    genuine = opened(form_of(idp.logout(binding="post").text)["SAMLRequest"])
    carried = {"SAMLRequest": packed(attack(copy.deepcopy(genuine)))}
    refusal(sp, carried)
    assert not sp.provider.is_over(root)
    # Without the attack it counts.
    ends(sp, {"SAMLRequest": packed(genuine)})


def test_a_signed_sign_in_is_no_logout(idp: SamlIdp, sp: ServiceProvider) -> None:
    response = idp.response(signResponse=True)
    for name in ("SAMLRequest", "SAMLResponse"):
        assert "this is not a Logout" in refusal(sp, {name: response})


def test_bombs_and_garbage(idp: SamlIdp, sp: ServiceProvider) -> None:
    deflate = zlib.compressobj(9, wbits=-15)
    bomb = deflate.compress(b"<a>" + b" " * 50_000_000) + deflate.flush()
    query = f"SAMLRequest={quote_plus(base64.b64encode(bomb).decode())}&SigAlg=x&Signature=eA=="
    assert "longer" in refusal(sp, query)
    refusal(sp, "SAMLRequest=!!!&SigAlg=x&Signature=x")
    refusal(sp, "SAMLRequest=eA%3D%3D&SigAlg=x&Signature=x")
    doctype = b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"
    assert "DOCTYPE" in refusal(sp, {"SAMLRequest": packed(doctype)})
    state = {**form_of(idp.logout(binding="post").text), "RelayState": "x" * 81}
    assert "RelayState" in refusal(sp, state)


def test_an_answer_of_failure_says_so(idp: SamlIdp, sp: ServiceProvider, now: ManualClock) -> None:
    root = request_of(now, issuer=idp.entity_id, root="LogoutResponse", InResponseTo="_bye")
    for element in root[1:]:
        root.remove(element)
    status = etree.SubElement(root, tag("samlp:Status"))
    code = etree.SubElement(status, tag("samlp:StatusCode"))
    success = "urn:oasis:names:tc:SAML:2.0:status:Success"
    code.set("Value", success)
    inner = etree.SubElement(code, tag("samlp:StatusCode"))
    inner.set("Value", "urn:oasis:names:tc:SAML:2.0:status:PartialLogout")
    carried = signed_form(root, idp.pair)
    message = read(sp, {"SAMLResponse": carried["SAMLRequest"]})
    assert message == LogoutResponse("_bye", "Success, PartialLogout")


def test_many_endings_stay_bounded(idp: SamlIdp, sp: ServiceProvider, now: ManualClock) -> None:
    ada = sp.subject(idp.response(sessionIndex="_0"))
    for number in range(200):
        later = Subject("ada", idp.entity_id, frozenset(), claims={**ada.claims})
        later.claims["session_index"] = [f"_{number}"]  # type: ignore[index]
        sp.provider.end(sp.provider.session_of(later))
    assert sum(map(len, sp.provider._ended._ended.values())) <= 50
    now.advance(sp.settings.session_seconds + sp.settings.clock_skew + 1)
    assert not sp.provider.is_over(later), "nothing that came with it can be valid still"
