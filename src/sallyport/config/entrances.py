"""Where the gateway and its console listen: addresses, TLS, the console's sign-in."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import Config, Console, Mcp, TlsFiles
from sallyport.core.address import Networks, parse_address
from sallyport.core.files import refuse_exposed
from sallyport.core.yamltext import YamlPath

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,100}")


def addresses(check: Check, config: Config) -> None:
    """Check where the gateway listens: addresses that differ, and TLS where others may listen in.
    Raises ConfigError.
    """
    addresses: list[tuple[YamlPath, str]] = [(("listen",), config.listen)]
    if config.console is not None:
        addresses.append((("console", "listen"), config.console.listen))
    for path, text in addresses:
        try:
            address = parse_address(text)
        except ValueError as error:
            raise check.error(path, str(error), "Write host:port, like 127.0.0.1:6432") from None
        if config.tls is None and not address.is_loopback:
            what = (
                f"{text} is not a loopback address and there is no TLS: tokens would travel in"
                " clear"
            )
            fix = "Add 'tls: {certificate: ..., key: ...}', or listen on 127.0.0.1"
            raise check.error(path, what, fix)


def proxies(check: Check, path: YamlPath, texts: tuple[str, ...]) -> None:
    """Addresses or networks. Raises ConfigError."""
    try:
        Networks(texts)
    except ValueError as error:
        raise check.error(
            path, str(error), "Write addresses or networks, like 10.0.0.7 or 10.1.0.0/16"
        ) from None


def _forwarding(check: Check, console: Console) -> None:
    proxies(check, ("console", "trusted_proxies"), console.trusted_proxies)
    if bool(console.forwarding_header) != bool(console.trusted_proxies):
        path = "forwarding_header" if console.forwarding_header else "trusted_proxies"
        fix = (
            "Write both 'forwarding_header: X-Forwarded-For' and 'trusted_proxies: [ADDRESS]', or"
            " neither"
        )
        raise check.error(("console", path), "one of two keys that belong together", fix)
    if console.forwarding_header and not _HEADER_NAME.fullmatch(console.forwarding_header):
        raise check.error(
            ("console", "forwarding_header"),
            "this is not the name of a header",
            "Write X-Forwarded-For",
        )


def tls(check: Check, tls: TlsFiles | None) -> TlsFiles | None:
    """The files of the wire entrance, as absolute paths. Raises ConfigError."""
    if tls is None:
        return None
    for key in ("certificate", "key"):
        check.readable(("tls", key), getattr(tls, key))
    refuse_exposed(Path(check.absolute(tls.key)), "tls.key")
    return TlsFiles(check.absolute(tls.certificate), check.absolute(tls.key), tls.direct)


def console(check: Check, config: Config) -> Console | None:
    """The console with its secrets, or None where there is none. Raises ConfigError."""
    console = config.console
    if console is None:
        if config.identity.saml:
            fix = "Add 'console: {listen: ...}'"
            raise check.error(
                ("identity", "saml"), "responses come to the console, and there is none", fix
            )
        return None
    if console.client_id and not config.identity.oidc:
        raise check.error(
            ("console", "client_id"),
            "a client of no issuer",
            "Add identity.oidc, or remove the key",
        )
    issuers = [provider.issuer for provider in config.identity.oidc]
    if console.issuer and console.issuer not in issuers:
        fix = "Write one of them exactly, or remove the key: then it is the first"
        raise check.error(("console", "issuer"), "this issuer is not one of identity.oidc", fix)
    _forwarding(check, console)
    if console.public_url:
        _public_url(check, console.public_url)
    if console.client_id and "openid" not in console.scopes:
        raise check.error(
            ("console", "scopes"), "without the scope openid there is no sign-in", "Add openid"
        )
    if console.client_id and console.client_id in [
        provider.audience for provider in config.identity.oidc
    ]:
        fix = "Give the console a client of its own at the issuer"
        what = (
            "this is the audience of an issuer: sign-in tokens of the console would open the"
            " gateway"
        )
        raise check.error(("console", "client_id"), what, fix)
    if console.client_secret is not None and not console.client_id:
        raise check.error(
            ("console", "client_secret"), "a secret without a client", "Add 'client_id'"
        )
    for key in ("session_seconds", "idle_seconds"):
        if getattr(console, key) <= 0:
            raise check.error(("console", key), "must be more than 0", "Write seconds")
    secret = console.client_secret
    if secret is not None:
        secret = managed.secret(check, ("console", "client_secret"), secret)
    return msgspec.structs.replace(
        console,
        issuer=console.issuer or next(iter(issuers), ""),
        public_url=console.public_url.rstrip("/"),
        client_secret=secret,
    )


def mcp(check: Check, config: Config) -> Mcp | None:
    """Raises ConfigError."""
    mcp = config.mcp
    if mcp is None:
        return None
    if config.console is None:
        fix = "Add 'console: {listen: ...}'"
        raise check.error(
            ("mcp",), "/mcp is served at the console's address, which is not set", fix
        )
    if importlib.util.find_spec("mcp") is None:
        fix = "Run pip install 'sallyport[mcp]', or remove the key"
        raise check.error(("mcp",), "the package mcp is not installed", fix)
    issuers = [provider.issuer for provider in config.identity.oidc]
    for issuer in mcp.authorization_servers:
        if issuer not in issuers:
            fix = "Write them exactly as there, or remove the key: then it is all of them"
            what = f"{issuer} is not one of identity.oidc"
            raise check.error(("mcp", "authorization_servers"), what, fix)
    for key in ("idle_seconds", "sessions"):
        if getattr(mcp, key) <= 0:
            raise check.error(("mcp", key), "must be more than 0", "Write a larger number")
    return msgspec.structs.replace(
        mcp, authorization_servers=mcp.authorization_servers or tuple(issuers)
    )


def _public_url(check: Check, url: str) -> None:
    check.url(("console", "public_url"), url)
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        fix = "Write only scheme, host and port, like https://sallyport.example.com"
        raise check.error(("console", "public_url"), "the console has a host of its own", fix)
