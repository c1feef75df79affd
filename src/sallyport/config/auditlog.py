"""The log of recordings' heads and its witnesses."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import Audit, AuditWitness
from sallyport.core.yamltext import YamlPath

_KINDS = ("file", "archive", "syslog", "webhook", "cosigner")
_SCHEMES = ("udp", "tcp", "tls")
#: A log that is verified is expected to have a head of each session in that time.
MOST_SECONDS = {"checkpoint_seconds": 600.0, "head_seconds": 1200.0}
_VKEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*")


def audit(check: Check, settings: Audit) -> Audit:
    """Checked, with absolute paths. Raises ConfigError."""
    for key, maximum in MOST_SECONDS.items():
        value = getattr(settings, key)
        if not 0 < value <= maximum:
            fix = f"Write a number of seconds up to {maximum:g}"
            raise check.error(("audit", key), f"{value:g} is not usable", fix)
    if settings.retention_days < 0:
        fix = "Write a number of days, or 0 to keep recordings"
        raise check.error(("audit", "retention_days"), "must not be below 0", fix)
    if settings.retention_bytes < 0:
        fix = "Write a number of bytes, or 0 for no bound"
        raise check.error(("audit", "retention_bytes"), "must not be below 0", fix)
    if settings.retention_bytes and check.document.data.get("archive"):
        fix = "Bound the local copies of archived recordings by archive.max_local_bytes"
        what = "would delete recordings that are not in the archive yet, and the keys of others"
        raise check.error(("audit", "retention_bytes"), what, fix)
    targets = check.document.data.get("targets")
    for name, days in settings.retention_targets.items():
        path: YamlPath = ("audit", "retention_targets", name)
        if not isinstance(targets, dict) or name not in targets:
            raise check.error(path, "there is no such target", "Write the name of one of 'targets'")
        if days < 0:
            fix = "Write a number of days, or 0 to keep recordings"
            raise check.error(path, "must not be below 0", fix)
    for i, key in enumerate(settings.cosign):
        _vkey(check, ("audit", "cosign", i), key)
    witnesses = tuple(_witness(check, i, witness) for i, witness in enumerate(settings.witnesses))
    replaced: Audit = msgspec.structs.replace(settings, witnesses=witnesses)
    return replaced


def _witness(check: Check, number: int, witness: AuditWitness) -> AuditWitness:
    path: YamlPath = ("audit", "witnesses", number)
    _kind(check, path, witness)
    if (witness.secret is not None) != bool(witness.webhook):
        fix = "A webhook is signed with it: {webhook: https://..., secret: {file: ...}}"
        raise check.error(path, "secret and webhook belong together", fix)
    if witness.webhook:
        check.url((*path, "webhook"), witness.webhook)
    if bool(witness.key) != bool(witness.cosigner):
        fix = "The public key is what 'sallyport audit key --cosigner' prints there"
        raise check.error(path, "cosigner and key belong together", fix)
    if witness.cosigner:
        check.url((*path, "cosigner"), witness.cosigner)
        _vkey(check, (*path, "key"), witness.key)
    if witness.syslog:
        _syslog(check, (*path, "syslog"), witness.syslog)
    if witness.ca is not None:
        if not witness.syslog.startswith("tls://") and not witness.cosigner:
            what = "only syslog with tls:// and a cosigner have a ca"
            raise check.error((*path, "ca"), what, "Remove it")
        check.readable((*path, "ca"), witness.ca)
    replaced: AuditWitness = msgspec.structs.replace(
        witness,
        file=check.absolute(witness.file) if witness.file else "",
        ca=check.absolute(witness.ca) if witness.ca else None,
        secret=managed.secret(check, (*path, "secret"), witness.secret) if witness.secret else None,
    )
    return replaced


def _kind(check: Check, path: YamlPath, witness: AuditWitness) -> None:
    if sum(bool(getattr(witness, kind)) for kind in _KINDS) != 1:
        fix = "Write, for example, {file: /mnt/worm/sallyport.checkpoints}"
        raise check.error(path, f"exactly one of {', '.join(_KINDS)} is needed", fix)
    if witness.archive and not check.document.data.get("archive"):
        fix = "Say where it is under 'archive'"
        raise check.error((*path, "archive"), "there is no archive of recordings", fix)


def _vkey(check: Check, path: YamlPath, key: str) -> None:
    """Only its shape: what reads it checks the rest."""
    if not _VKEY.fullmatch(key):
        raise check.error(
            path,
            f"{key!r} is not a public key",
            "It looks like name+1a2b3c4d+AbC...=",
        )


def _syslog(check: Check, path: YamlPath, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and parts.scheme in _SCHEMES
    except ValueError:
        usable = False
    if not usable:
        fix = "Write udp://host:514, tcp://host:514 or tls://host:6514"
        raise check.error(path, f"{url!r} is not a syslog server", fix)
