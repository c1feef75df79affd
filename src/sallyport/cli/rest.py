"""The REST interface of a running gateway, for commands: address, token, and errors as one line.

The address is ``--url`` (or SALLYPORT_URL; SALLYPORT_URL_CA: the CA of its certificate, if the
system does not have it), the token SALLYPORT_TOKEN, one for the client that
SALLYPORT_ISSUER and SALLYPORT_CLIENT_ID name (as for ``sallyport token``), or the one that
``sallyport login`` kept. A token goes to https and to this machine only. What the gateway answers
is hostile text until :func:`inert` made it harmless.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sallyport.core.address import is_loopback
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from sallyport.core.tls import harden

if TYPE_CHECKING:
    import httpx2

_TOKEN_VARIABLE: Final = "SALLYPORT_TOKEN"  # noqa: S105 - the variable's name
_CA_VARIABLE: Final = "SALLYPORT_URL_CA"
_SECONDS: Final = 20.0

Url = Annotated[
    str,
    typer.Option(
        envvar="SALLYPORT_URL",
        help=f"Address of the gateway's console. {_CA_VARIABLE}: PEM file of its CA.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead, one object per line.")]
#: X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT to X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, and
#: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT (OpenSSL, x509_vfy.h).
_UNKNOWN_AUTHORITY: Final = frozenset((2, 18, 19, 20, 21))
LOCAL: Final = "http://127.0.0.1:8642"


class RejectedError(SallyportError):
    """The gateway said no."""


def _token() -> Secret:
    if text := os.environ.get(_TOKEN_VARIABLE, "").strip():
        return Secret(text)
    # Start-up time: who names a token needs no other way to one.
    from sallyport.cli.tokensource import own_token

    return own_token()


class RestClient:
    """The REST interface, as somebody. token: gets their bearer token; None: there is none. Raises
    SallyportError for what is not an answer, RejectedError for a no.
    """

    def __init__(self, url: str, *, token: Callable[[], Secret] | None = _token) -> None:
        import httpx2

        parts = httpx2.URL(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise SallyportError(
                f"--url {url!r} is not an address; write it like https://gateway.example.com"
            )
        if parts.scheme == "http" and not is_loopback(parts.host):
            raise SallyportError(f"{url} is not https: a token does not go there in the clear")
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token().reveal()}"

    def get(self, path: str, **query: str) -> Any:
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._ask("POST", path, {}, body)

    def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> Any:
        import httpx2

        try:
            # The environment's proxies and .netrc are not asked: the token goes to the gateway and
            # nowhere else.
            with httpx2.Client(
                verify=_context(), trust_env=False, timeout=_SECONDS, follow_redirects=False
            ) as client:
                answer = client.request(
                    method,
                    f"{self._url}/api/v1{path}",
                    params=dict(query),
                    json=body,
                    headers=self._headers,
                )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            if problem := _certificate_problem(error):
                raise SallyportError(f"the certificate of {self._url} {problem}") from None
            raise SallyportError(
                f"{self._url} cannot be reached ({type(error).__name__}): is the gateway's console"
                " on, and --url right?"
            ) from None
        return _answer(answer, is_bearer="Authorization" in self._headers)


def _certificate_problem(error: BaseException | None) -> str:
    """What is wrong with the console's certificate, as the end of a sentence; "": nothing is."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return f"is not trusted: put the PEM file of its CA into {_CA_VARIABLE}"
    return f"cannot be accepted: {error.verify_message.rstrip('.')}"


def _context() -> ssl.SSLContext:
    import httpx2

    file = os.environ.get(_CA_VARIABLE, "")
    try:
        context = (
            ssl.create_default_context(cafile=file)
            if file
            else httpx2.create_ssl_context(trust_env=False)
        )
    except OSError as error:
        raise SallyportError(
            f"{_CA_VARIABLE}: {file} cannot be used: {error.strerror or error}"
        ) from None
    return harden(context)


def _answer(answer: httpx2.Response, *, is_bearer: bool) -> Any:
    try:
        value = answer.json()
    except ValueError:
        value = None
    if answer.status_code == 401 and is_bearer:
        raise SallyportError(
            "the token is not accepted. It is taken from SALLYPORT_TOKEN, else for the client that"
            " SALLYPORT_ISSUER, SALLYPORT_CLIENT_ID and SALLYPORT_CLIENT_SECRET name, else from"
            " 'sallyport login'"
        )
    if not isinstance(value, dict):
        raise SallyportError(
            f"the answer (status {answer.status_code}) is not of a Sallyport console; check --url"
        )
    if answer.is_success:
        return value
    raise RejectedError(
        inert(value.get("detail") or value.get("title") or f"status {answer.status_code}")
    )


def run_request(work: Callable[[], None]) -> None:
    """Do what a command asks of the gateway; a failure ends the program with one line and its exit
    status: 1 when the gateway says no, 2 when it cannot be asked.
    """
    try:
        work()
    except (RejectedError, SallyportError) as error:
        typer.echo(f"sallyport: {error}", err=True)
        raise typer.Exit(1 if isinstance(error, RejectedError) else 2) from None
    except (KeyError, TypeError, AttributeError):
        typer.echo("sallyport: the gateway's answer is of another version of Sallyport", err=True)
        raise typer.Exit(2) from None


def inert(value: object, *, newlines: bool = False) -> str:
    """Text of the gateway's, harmless in a terminal."""
    from sallyport.audit.display import inert as harmless

    return harmless(str(value), newlines=newlines)
