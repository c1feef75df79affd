"""What stands between a configuration and a gateway that works: one finding per check, with what to
do. Nothing is changed anywhere.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Literal

import httpx2
from cryptography.x509 import Certificate, load_pem_x509_certificates

from sallyport.core.address import is_loopback
from sallyport.core.clock import SystemClock
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.secret import Secret
from sallyport.core.wording import counted
from sallyport.identity.oidc.discovery import discovery_url
from sallyport.identity.oidc.fetch import new_client
from sallyport.identity.oidc.keys import KeySource, KeysUnavailableError
from sallyport.identity.settings import IssuerSettings
from sallyport.operations.grants import excess, missing, required_privileges
from sallyport.policy.bind import bind
from sallyport.policy.decision import Outcome
from sallyport.policy.model import Policy
from sallyport.server.query import QueryClient
from sallyport.server.tls import server_context
from sallyport.server.upstream import Dialer, Login, UnreachableError
from sallyport.targets.catalog_loader import load_catalog
from sallyport.targets.ephemeral import ABOUT
from sallyport.targets.privileges import load_privileges, quote_literal
from sallyport.targets.roles import role_warnings

State = Literal["ok", "warning", "problem"]
_SECONDS: Final = 10.0
_FREE_BYTES: Final = 1 << 30
_SKEW_SECONDS: Final = 5.0
#: Before a certificate or metadata ends.
SOON_SECONDS: Final = 14 * 86_400.0
#: No line of pg_hba.conf lets this client in (invalid_authorization_specification).
_NOT_LET_IN: Final = "28000"
_CLOSE: Final = (
    "let only the gateway's address reach it: pg_hba.conf ('hostssl all all GATEWAY/32"
    " scram-sha-256', 'host all all all reject'), a firewall, or a Kubernetes NetworkPolicy that"
    " admits the gateway's pods alone to its port"
)
_RESTRICTIVE: Final = (
    "SELECT DISTINCT p.polrelid::pg_catalog.regclass::text FROM pg_catalog.pg_policy p,"
    " pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles) AND r.rolname = {role} ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``about``: what was looked at. ``do``: what mends it; "" where nothing is to be done."""

    about: str
    state: State
    said: str
    do: str = ""


def data_directory(path: Path) -> Iterator[Finding]:
    """Whether the gateway can write there, and nobody else can look into it."""
    about = f"data directory {path}"
    there = next(p for p in (path, *path.parents) if p.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Finding(
            about,
            "problem",
            f"{there} cannot be written",
            "give it to the gateway's user, or set 'data'",
        )
        return
    if there == path and path.stat().st_mode & (stat.S_IRWXO):
        yield Finding(
            about, "warning", "other users of this machine may look into it", f"chmod o= {path}"
        )
    free = shutil.disk_usage(there).free
    if free < _FREE_BYTES:
        yield Finding(
            about,
            "warning",
            f"{free >> 20} MB are free",
            "make room: without it no session is recorded, and none starts",
        )
    else:
        yield Finding(about, "ok", f"can be written, {free >> 30} GB are free")


def certificate(certificate: Path, key: Path) -> Finding:
    """Whether the gateway can show it to its clients, and for how long."""
    about, do = f"certificate {certificate}", "renew it, and restart the gateway"
    try:
        server_context(certificate, key)
        ends = ends_in(min(load_pem_x509_certificates(certificate.read_bytes()), key=_end))
    except (ConfigError, OSError, ValueError) as error:
        return Finding(about, "problem", str(error).removesuffix("."))
    if ends == "has expired":
        return Finding(about, "problem", ends, do)
    return Finding(about, "warning", ends, do) if ends else Finding(about, "ok", "can be used")


def ends_in(certificate: Certificate) -> str:
    """What to say of a certificate that ends soon, or has; "" for any other one."""
    left = _end(certificate) - time.time()
    if left < SOON_SECONDS:
        return f"ends in {int(left // 86_400)} days" if left > 0 else "has expired"
    return ""


def _end(certificate: Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def secret(where: str, manager: str, problem: str) -> Finding:
    """``where``: in the configuration. ``manager``: has it. ``problem``: why it is not."""
    about = f"{where} in {manager}"
    if not problem:
        return Finding(about, "ok", "can be read")
    do = "docs/credentials.md#secret-managers; until then what needs it fails"
    return Finding(about, "problem", problem, do)


async def issuer(settings: IssuerSettings) -> list[Finding]:
    """Discovery, keys, and its clock beside ours."""
    about = f"issuer {settings.issuer}"
    source = KeySource(settings, SystemClock())
    try:
        ring = await source.current()
    except KeysUnavailableError:
        return [
            Finding(
                about,
                "problem",
                source.error or "its keys cannot be fetched",
                "is the address right, and reachable from here?",
            )
        ]
    finally:
        await source.close()
    findings = [Finding(about, "ok", counted(len(ring.keys), "key"))]
    url = settings.jwks_url or discovery_url(settings.issuer)
    try:
        async with new_client(settings.ca_file) as client:
            stamp = (await client.get(url, timeout=_SECONDS)).headers.get("date", "")
        skew = abs(parsedate_to_datetime(stamp).timestamp() - time.time()) if stamp else 0.0
    except (httpx2.HTTPError, ValueError):
        return findings
    if skew > max(settings.clock_skew, _SKEW_SECONDS):
        said = f"its clock and this machine's differ by {skew:.0f} seconds"
        findings.append(
            Finding(
                about,
                "problem",
                said,
                "synchronise the clock (NTP): valid tokens are refused, or stale ones taken",
            )
        )
    return findings


async def target(dialer: Dialer, policy: Policy) -> list[Finding]:
    """Reach, TLS, version, clock, the role's powers, and its privileges beside what policy
    needs.
    """
    place, about = dialer.target, f"target {dialer.target.name}"
    client = QueryClient(dialer, 60.0)
    findings: list[Finding] = []
    try:
        (row,) = await client.query(ABOUT)
        catalog = (await load_catalog(client.query)).snapshot
        live = await load_privileges(client.query)
        powers = await role_warnings(client.query)
    except UnreachableError as error:
        return [Finding(about, "problem", f"{error.kind}: {error.reason}", _mend(error.kind))]
    except SallyportError as error:
        return [Finding(about, "problem", str(error), "look at the server's log")]
    finally:
        await client.close()
    findings.append(
        Finding(
            about,
            "ok",
            f"PostgreSQL {_version(row[0])} as {place.user}, {len(catalog.relations)} relations"
            " with the system's",
        )
    )
    findings += _about_server(about, row, place.tls, place.host)
    findings += [
        Finding(about, "warning", power, "docs/guarantees.md#the-second-wall") for power in powers
    ]
    want = required_privileges(bind(policy, catalog, place.name), live)
    script = f"sallyport grants --target {place.name}"
    if more := excess(want, live):
        said = (
            f"role {live.role} has {counted(len(more), 'privilege')} that the policy never needs,"
            f" the first: {more[0].privilege} on {more[0].on}"
        )
        findings.append(
            Finding(about, "warning", said, f"{script!r} prints the SQL that takes them away")
        )
    if less := missing(want, live):
        said = (
            f"role {live.role} lacks {counted(len(less), 'privilege')} that the policy can allow,"
            f" the first: {less[0].privilege} on {less[0].on}"
        )
        findings.append(
            Finding(about, "warning", said, f"{script!r} prints the SQL that gives them")
        )
    return findings


def _version(number: str | None) -> str:
    return f"{int(number or 0) // 10000}"


def _about_server(about: str, row: Sequence[str | None], tls: str, host: str) -> Iterator[Finding]:
    major = int(row[0] or 0) // 10000
    if not 14 <= major <= 18:
        yield Finding(about, "problem", f"PostgreSQL {major} is not supported", "use 14 to 18")
    skew = abs(float(row[1] or 0) - time.time())
    if skew > _SKEW_SECONDS:
        yield Finding(
            about,
            "warning",
            f"its clock and this machine's differ by {skew:.0f} seconds",
            "synchronise both (NTP)",
        )
    if tls != "verify-full" and not (host.startswith("/") or is_loopback(host)):
        yield Finding(
            about,
            "problem",
            f"tls: {tls} over a network: somebody between can read, or pose as the server",
            "tls: verify-full",
        )


def _mend(kind: str) -> str:
    return {
        "credential": "look at 'password' of the target",
        "timeout": "is the address right, and does a firewall let the gateway through?",
        "connection": "does the server run there, and do 'host' and 'port' say so?",
        "tls": "look at 'tls' and 'ca' of the target, and at the server's certificate",
        "login": (
            "look at 'user', 'password' and 'auth' of the target, and at the server's pg_hba.conf"
        ),
    }.get(kind, "look at the server's log")


async def administrator(name: str, dialer: Dialer, static_role: str) -> list[Finding]:
    """The role that makes the roles of sessions."""
    about = f"target {name}, administrator {dialer.target.user}"
    client = QueryClient(dialer, 60.0)
    try:
        (row,) = await client.query(ABOUT)
        (power,) = await client.query(
            "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
        )
        bound = await client.query(_RESTRICTIVE.format(role=quote_literal(static_role)))
    except UnreachableError as error:
        return [Finding(about, "problem", f"{error.kind}: {error.reason}", _mend(error.kind))]
    except SallyportError as error:
        return [Finding(about, "problem", str(error), "look at the server's log")]
    finally:
        await client.close()
    if row[3] != "t":
        return [
            Finding(
                about,
                "problem",
                "may not make roles",
                f"ALTER ROLE {dialer.target.user} CREATEROLE",
            )
        ]
    findings = [Finding(about, "ok", "may make the roles of sessions")]
    if power[0] == "t":
        do = "CREATEROLE and grant options are enough: docs/credentials.md"
        findings.append(Finding(about, "warning", "is a superuser", do))
    findings += [
        Finding(
            about,
            "warning",
            f"row security of {table[0]} names role {static_role}; sessions have others",
            "write the policy TO PUBLIC",
        )
        for table in bound
    ]
    return findings


def reviewers(
    policy: Policy, has_console: bool, places: Sequence[tuple[str, str, int]]
) -> Iterator[Finding]:
    """Can people hear of what waits, and decide? Without asking anything of the network."""
    held = [rule.name for rule in policy.rules if rule.effect is Outcome.HOLD]
    if not held:
        return
    if not has_console:
        yield Finding(
            "approvals",
            "problem",
            f"{len(held)} rules hold statements and there is no console",
            "add 'console:'",
        )
    elif not places:
        yield Finding(
            "approvals",
            "warning",
            "nobody is told when a statement waits",
            "add a webhook, mail or Slack under 'approvals'",
        )


async def reachable(about: str, host: str, port: int) -> Finding:
    """A TCP connection to where reviewers are told."""
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        said = f"{host}:{port} cannot be reached: {getattr(error, 'strerror', None) or 'no answer'}"
        return Finding(
            about,
            "problem",
            said,
            "is the address right, and does a firewall let the gateway through?",
        )
    writer.close()
    return Finding(about, "ok", f"{host}:{port} answers")


async def way_round(dialer: Dialer, plain: Dialer | None = None) -> Finding:
    """From where this runs, can the database be had without the gateway? A password that nobody has
    is tried. ``plain``: the same without TLS, for a server that may have none.
    """
    place = dialer.target = replace(dialer.target, auth=(*dialer.target.auth, "trust"))
    about = f"the way round the gateway to {place.name} ({place.host}:{place.port})"
    try:
        link = await dialer.open({}, login=Login(place.user, Secret(secrets.token_urlsafe(16))))
    except UnreachableError as error:
        if error.kind == "tls" and plain is not None:
            return await way_round(plain)
        if error.kind in ("timeout", "connection") and not error.sqlstate:
            return Finding(about, "ok", "closed: the database cannot be reached from here")
        if error.sqlstate == _NOT_LET_IN:
            return Finding(
                about,
                "warning",
                "the port is open; the server lets nobody log in from here",
                _CLOSE,
            )
        return Finding(
            about,
            "problem",
            "open: the database answers, and a password is all that is missing",
            _CLOSE,
        )
    link.abort()
    return Finding(
        about, "problem", f"wide open: anybody here is {place.user}, without a password", _CLOSE
    )
