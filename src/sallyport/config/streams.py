"""Where the record goes: receivers of streams and the archive, their addresses and credentials."""

from __future__ import annotations

import re

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import Audit, StreamTarget
from sallyport.config.storage import Archive
from sallyport.core.address import is_loopback, parse_address
from sallyport.core.yamltext import YamlPath

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
#: What each kind of receiver needs to be reached, and may have beside it.
_PLACE = {
    "syslog": "address",
    "splunk": "url",
    "elastic": "url",
    "otlp": "url",
    "file": "path",
    "stdout": "",
}
_EXAMPLES = {
    "address": "siem.example.com:6514",
    "url": "https://siem.example.com:8088/services/collector/event",
    "path": "/var/log/sallyport/audit.jsonl",
}
_ALLOWED = {
    "syslog": {"address", "tls", "ca", "certificate", "key"},
    "splunk": {"url", "token", "ca", "certificate", "key"},
    "elastic": {"url", "token", "index", "ca", "certificate", "key"},
    "otlp": {"url", "token", "sample", "ca", "certificate", "key"},
    "file": {"path"},
    "stdout": set(),
}
_SPECIAL = (
    "address", "url", "path", "index", "token", "tls", "ca", "certificate", "key", "sample"
)  # fmt: skip


def audit(check: Check, audit: Audit) -> Audit:
    """The section with absolute paths. Raises ConfigError."""
    names: set[str] = set()
    streams = []
    for i, target in enumerate(audit.stream):
        path: YamlPath = ("audit", "stream", i)
        if not _NAME.fullmatch(target.name):
            fix = "Write lower-case letters, digits, - and _; files are named after it"
            raise check.error((*path, "name"), f"{target.name!r} is not usable", fix)
        if target.name in names:
            problem = f"{target.name!r} stands twice"
            raise check.error((*path, "name"), problem, "Write another name")
        names.add(target.name)
        streams.append(_stream(check, path, target))
    replaced: Audit = msgspec.structs.replace(audit, stream=tuple(streams))
    return replaced


def _stream(check: Check, path: YamlPath, target: StreamTarget) -> StreamTarget:
    _check_keys(check, path, target)
    if target.max_lag_seconds <= 0:
        raise check.error((*path, "max_lag_seconds"), "must be more than 0", "Write seconds")
    if target.address:
        _check_address(check, path, target)
    if target.url:
        check.url((*path, "url"), target.url)
    if target.to == "splunk" and target.token is None:
        fix = "Write 'token: {env: SPLUNK_TOKEN}'"
        raise check.error(path, "Splunk's collector needs a token", fix)
    if bool(target.certificate) != bool(target.key):
        raise check.error(path, "certificate and key belong together", "Write both, or neither")
    paths = {}
    for key in ("ca", "certificate", "key"):
        name = getattr(target, key)
        if name:
            check.readable((*path, key), name)
            paths[key] = check.absolute(name)
    replaced: StreamTarget = msgspec.structs.replace(
        target,
        path=check.absolute(target.path) if target.path else "",
        token=managed.secret(check, (*path, "token"), target.token) if target.token else None,
        **paths,
    )
    return replaced


def _check_keys(check: Check, path: YamlPath, target: StreamTarget) -> None:
    """What the receiver needs is there, and nothing that means nothing to it."""
    place = _PLACE[target.to]
    if place and not getattr(target, place):
        fix = f"Write, for example, '{place}: {_EXAMPLES[place]}'"
        raise check.error(path, f"'to: {target.to}' needs {place}", fix)
    defaults = StreamTarget(name="", to=target.to)
    for key in _SPECIAL:
        if key not in _ALLOWED[target.to] and getattr(target, key) != getattr(defaults, key):
            raise check.error((*path, key), f"means nothing to 'to: {target.to}'", "Remove it")
    if target.to == "otlp" and target.format != "jsonl":
        problem = "OpenTelemetry has a format of its own"
        raise check.error((*path, "format"), problem, "Remove it")
    if not 0 <= target.sample <= 1:
        raise check.error((*path, "sample"), "must be 0 to 1", "0.1 is a tenth of the sessions")
    if target.to == "elastic" and target.format == "cef":
        fix = "Write 'format: jsonl' or 'format: ocsf'"
        raise check.error((*path, "format"), "Elasticsearch takes JSON documents", fix)


def _check_address(check: Check, path: YamlPath, target: StreamTarget) -> None:
    try:
        address = parse_address(target.address)
    except ValueError as error:
        fix = f"Write {_EXAMPLES['address']}"
        raise check.error((*path, "address"), str(error), fix) from None
    if target.tls == "disable" and not is_loopback(address.host):
        fix = "Remove 'tls: disable', or have a relay on this machine"
        raise check.error((*path, "tls"), "the record leaves this machine with TLS only", fix)


def archive(check: Check, archive: Archive | None) -> Archive | None:
    """The section with its secrets checked. Raises ConfigError."""
    if archive is None:
        return None
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[\w./-]*)?", archive.url):
        fix = "Write 'url: s3://bucket/prefix'; 'endpoint' says where the storage is"
        raise check.error(("archive", "url"), f"{archive.url!r} is not usable", fix)
    if archive.endpoint:
        check.url(("archive", "endpoint"), archive.endpoint)
    if (archive.access_key_id is None) != (archive.secret_access_key is None):
        problem = "access_key_id and secret_access_key belong together"
        raise check.error(("archive",), problem, "Write both, or neither")
    for key in ("keep_local_days", "max_local_bytes", "lock_days"):
        if getattr(archive, key) < 0:
            raise check.error(("archive", key), "must not be negative", "Write a number")
    keys = {}
    for key in ("access_key_id", "secret_access_key"):
        reference = getattr(archive, key)
        if reference is not None:
            keys[key] = managed.secret(check, ("archive", key), reference)
    replaced: Archive = msgspec.structs.replace(archive, **keys)
    return replaced
