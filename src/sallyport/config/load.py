"""``sallyport.yaml`` from file to :class:`Config`: read, checked section by section, completed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from sallyport.config import (
    auditlog,
    databases,
    entrances,
    issuers,
    managed,
    people,
    shared,
    streams,
)
from sallyport.config.check import Check
from sallyport.config.model import Config, RecordingEncryption, WatchSettings
from sallyport.config.secrets import SecretRef
from sallyport.config.storage import SharedStore
from sallyport.core.worker import MOST
from sallyport.core.yamltext import YamlPath, read_yaml

#: What 0 means, where it may be written.
_ZERO = {
    "session_seconds": "0 for no bound",
    "idle_seconds": "0 for no bound",
    "drain_seconds": "0 for no time",
}


def load_config(path: Path | str) -> Config:
    """Read, check and complete a configuration file. Raises ConfigError."""
    document, base = read_yaml(Path(path)), Path(path).resolve().parent
    check = Check(document, base)
    # Targets first and one by one: inside a mapping msgspec does not say which entry is wrong.
    targets = databases.read_targets(check)
    keys = {name: _mask_key(check, name) for name in _mapping(check, "mask_keys")}
    config = document.convert((), Config)
    entrances.addresses(check, config)
    entrances.proxies(check, ("proxy_protocol",), config.proxy_protocol)
    identity = issuers.identity(check, config.identity)
    _numbers(check, config)
    _watch(check, config.watch)
    if not config.policy:
        raise check.error(
            ("policy",), "the path is empty", "Write, for example, 'policy: policy.yaml'"
        )
    if isinstance(config.store, SharedStore):
        shared.is_no_target(check, config.store, targets)
    data = check.absolute(config.data)
    directory = config.recording.directory
    replaced: Config = msgspec.structs.replace(
        config,
        targets={name: databases.target(check, name, target) for name, target in targets.items()},
        tls=entrances.tls(check, config.tls),
        identity=identity,
        policy=check.absolute(config.policy),
        console=entrances.console(check, config),
        mcp=entrances.mcp(check, config),
        mask_keys=keys,
        secrets=managed.managers(check, config.secrets),
        data=data,
        approvals=people.approvals(check, config),
        audit=streams.audit(check, auditlog.audit(check, config.audit)),
        archive=streams.archive(check, config.archive),
        store="sqlite" if config.store == "sqlite" else shared.store(check, config.store),
        recording=msgspec.structs.replace(
            config.recording,
            directory=check.absolute(directory) if directory else str(Path(data) / "recordings"),
            encryption=_encryption(check, config.recording.encryption),
        ),
    )
    return replaced


def _mapping(check: Check, key: str) -> dict[str, Any]:
    value = check.document.data.get(key)
    return value if isinstance(value, dict) else {}


def _mask_key(check: Check, name: str) -> SecretRef:
    path: YamlPath = ("mask_keys", name)
    return managed.secret(check, path, check.document.convert(path, SecretRef))


def _watch(check: Check, watch: WatchSettings) -> None:
    for key in ("learning_days", "learning_statements", "quiet_minutes", "lock_minutes"):
        if getattr(watch, key) < 0:
            value, fix = getattr(watch, key), "Write a positive number, or 0"
            raise check.error(("watch", key), f"{value} is not usable", fix)
    for key in ("half_life_days", "episode_minutes"):
        if getattr(watch, key) <= 0:
            value = getattr(watch, key)
            raise check.error(("watch", key), f"{value} is not usable", "Write a positive number")
    if watch.reviewers.quorum < 1:
        path = ("watch", "reviewers", "quorum")
        raise check.error(path, "nobody would have to approve", "Write 1 or more")
    for name, actions in watch.actions.items():
        if "hold" in actions and not watch.reviewers.groups:
            raise check.error(
                ("watch", "actions", name),
                "'hold' needs people who may approve",
                "Add, under 'watch', 'reviewers: {groups: [dba]}'",
            )


def _encryption(check: Check, encryption: RecordingEncryption) -> RecordingEncryption:
    path: YamlPath = ("recording", "encryption")
    key = encryption.key and managed.local_secret(check, (*path, "key"), encryption.key)
    refs = enumerate(encryption.previous)
    previous = tuple(
        managed.local_secret(check, (*path, "previous", number), ref) for number, ref in refs
    )
    services = (
        ((*path, "previous_kms", n), each) for n, each in enumerate(encryption.previous_kms)
    )
    for place, service in (((*path, "kms"), encryption.kms), *services):
        if service is not None:
            managed.key_service(check, place, service)
    if encryption.key is not None and encryption.kms is not None:
        fix = "Keep one; list the other under 'previous' or 'previous_kms'"
        raise check.error((*path, "kms"), "key and kms are both there", fix)
    replaced: RecordingEncryption = msgspec.structs.replace(encryption, key=key, previous=previous)
    return replaced


def _numbers(check: Check, config: Config) -> None:
    for section in ("limits", "catalog", "network", "shutdown"):
        values = getattr(config, section)
        for key in values.__struct_fields__:
            may_be_zero = key in _ZERO
            value = getattr(values, key)
            if value < 0 or (value == 0 and not may_be_zero):
                fix = "Write a positive number" + (f", or {_ZERO[key]}" if may_be_zero else "")
                raise check.error((section, key), f"{value} is not usable", fix)
    if not 1 <= config.worker_count <= MOST:
        raise check.error(
            ("workers",), f"{config.workers} is not usable", f"Write auto, or from 1 to {MOST}"
        )
    if config.recording.search_statements < 0:
        raise check.error(
            ("recording", "search_statements"),
            f"{config.recording.search_statements} is not usable",
            "Write how many statements can be searched, or 0 for none",
        )
    for key in ("keepalive_idle_seconds", "keepalive_interval_seconds", "keepalive_probes"):
        maximum = 127 if key == "keepalive_probes" else 32767  # the kernel's own bounds
        if getattr(config.network, key) > maximum:
            raise check.error(
                ("network", key), f"the system's bound is {maximum}", f"Write at most {maximum}"
            )
    if config.limits.max_message_bytes > 2**30 - 1:
        raise check.error(
            ("limits", "max_message_bytes"),
            "PostgreSQL's own bound is 1 GB",
            "Write at most 1073741823",
        )
