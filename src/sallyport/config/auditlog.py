"""The log of recordings' heads and its witnesses."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import Audit, AuditWitness
from sallyport.core.yamltext import YamlPath

_SCHEMES = ("udp", "tcp", "tls")


def audit(check: Check, settings: Audit) -> Audit:
    """Checked, with absolute paths. Raises ConfigError."""
    for key in ("checkpoint_seconds", "head_seconds"):
        if getattr(settings, key) <= 0:
            value = getattr(settings, key)
            raise check.error(("audit", key), f"{value} is not usable", "Write a positive number")
    if settings.retention_days < 0:
        fix = "Write a number of days, or 0 to keep recordings"
        raise check.error(("audit", "retention_days"), "must not be below 0", fix)
    witnesses = tuple(_witness(check, i, witness) for i, witness in enumerate(settings.witnesses))
    replaced: Audit = msgspec.structs.replace(settings, witnesses=witnesses)
    return replaced


def _witness(check: Check, number: int, witness: AuditWitness) -> AuditWitness:
    path: YamlPath = ("audit", "witnesses", number)
    kinds = [key for key in ("file", "syslog", "webhook") if getattr(witness, key)]
    if len(kinds) != 1:
        fix = "Write, for example, {file: /mnt/worm/sallyport.checkpoints}"
        raise check.error(path, "exactly one of file, syslog and webhook is needed", fix)
    if (witness.secret is not None) != bool(witness.webhook):
        fix = "A webhook is signed with it: {webhook: https://..., secret: {file: ...}}"
        raise check.error(path, "secret and webhook belong together", fix)
    if witness.webhook:
        check.url((*path, "webhook"), witness.webhook)
    if witness.syslog:
        _syslog(check, (*path, "syslog"), witness.syslog)
    if witness.ca is not None:
        if not witness.syslog.startswith("tls://"):
            raise check.error((*path, "ca"), "only syslog with tls:// has a ca", "Remove it")
        check.readable((*path, "ca"), witness.ca)
    replaced: AuditWitness = msgspec.structs.replace(
        witness,
        file=check.absolute(witness.file) if witness.file else "",
        ca=check.absolute(witness.ca) if witness.ca else None,
        secret=managed.secret(check, (*path, "secret"), witness.secret) if witness.secret else None,
    )
    return replaced


def _syslog(check: Check, path: YamlPath, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and parts.scheme in _SCHEMES
    except ValueError:
        usable = False
    if not usable:
        fix = "Write udp://host:514, tcp://host:514 or tls://host:6514"
        raise check.error(path, f"{url!r} is not a syslog server", fix)
