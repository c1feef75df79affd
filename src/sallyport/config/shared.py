"""The store that several gateways share: a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import TargetSettings
from sallyport.config.secrets import SecretRef
from sallyport.config.storage import SharedStore
from sallyport.core.address import is_loopback, parse_address
from sallyport.core.yamltext import YamlPath

_PATH: YamlPath = ("store",)


def store(check: Check, settings: SharedStore) -> SharedStore:
    """The section with absolute paths. Raises ConfigError."""
    for key in ("host", "database", "user"):
        if not getattr(settings, key):
            raise check.error((*_PATH, key), "the value is empty", "Write it")
    if not 0 < settings.port < 65536:
        fix = "Write 1 to 65535; 5432 is usual"
        raise check.error((*_PATH, "port"), f"{settings.port} is not a port", fix)
    if settings.grace_seconds < 0 or settings.connect_seconds <= 0:
        key = "grace_seconds" if settings.grace_seconds < 0 else "connect_seconds"
        raise check.error((*_PATH, key), "the number is not usable", "Write a positive number")
    for number, standby in enumerate(settings.standbys):
        try:
            usable = bool(parse_address(standby).port)
        except ValueError:
            usable = False
        if not usable:
            place = (*_PATH, "standbys", number)
            raise check.error(place, f"{standby!r} is not usable", "Write host:port")
    _tls(check, settings)
    replaced: SharedStore = msgspec.structs.replace(
        settings,
        password=_secret(check, "password", settings.password),
        key=managed.secret(check, (*_PATH, "key"), settings.key),
        ca=check.absolute(settings.ca) if settings.ca else None,
    )
    return replaced


def is_no_target(
    check: Check, settings: SharedStore, targets: Mapping[str, TargetSettings]
) -> None:
    """Agents whose target is the store could approve for themselves. Raises ConfigError."""
    places = [(settings.host, settings.port)]
    places += [(a.host, a.port) for a in map(parse_address, settings.standbys)]
    stores = {(_machine(host), port) for host, port in places}
    for name, target in targets.items():
        if (_machine(target.host), target.port) in stores and target.database == settings.database:
            what = "this database is the store: agents could write approvals and locks there"
            fix = "Give the store a database and a user of its own"
            raise check.error(("targets", name, "database"), what, fix)


def _machine(host: str) -> str:
    """A host, however it is written: a directory is that of a socket."""
    return "localhost" if is_loopback(host) or host.startswith("/") else host.lower()


def _secret(check: Check, key: str, reference: SecretRef | None) -> SecretRef | None:
    return None if reference is None else managed.secret(check, (*_PATH, key), reference)


def _tls(check: Check, settings: SharedStore) -> None:
    if settings.ca:
        check.readable((*_PATH, "ca"), settings.ca)
        if settings.tls != "verify-full":
            what = f"the CA is not used with 'tls: {settings.tls}'"
            raise check.error((*_PATH, "ca"), what, "Write 'tls: verify-full', or remove 'ca'")
    hosts = (settings.host, *(parse_address(standby).host for standby in settings.standbys))
    if settings.tls == "disable" and not all(map(is_loopback, hosts)):
        what = "locks and approvals would cross the network in clear, and could be changed there"
        raise check.error((*_PATH, "tls"), what, "Write 'tls: verify-full'")
