"""A database that agents may reach, as a value. Built from configuration once; nothing here comes from a
client.

:func:`from_settings` accepts one entry of ``targets:`` (design.md, section 11) as a mapping or as any
object with those attributes, so that ``config`` can hand over its own typed settings. It raises
:class:`~sallyport.core.errors.ConfigError` that names the target and the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sallyport.core.errors import ConfigError
from sallyport.targets.credentials import Reference, reference_from

TlsMode = Literal["verify-full", "require", "disable"]
AuthMethod = Literal["scram-sha-256", "md5", "password", "trust"]


@dataclass(frozen=True, slots=True)
class TargetLimits:
    """0 means no limit. Seconds, counts."""

    connect_timeout: float = 10.0
    max_sessions: int = 0
    statement_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """``password`` is a reference, resolved at connect time. ``auth``: the methods the server may ask for.

    tls: ``verify-full`` checks certificate and host name against ``ca`` (None: the system's authorities);
    ``require`` encrypts without checking; ``disable`` is for loopback and sockets. ``password`` in
    ``auth`` is the server's clear-text request; it is answered only where it is listed.
    """

    name: str
    host: str
    database: str
    user: str
    password: Reference | None
    port: int = 5432
    tls: TlsMode = "verify-full"
    ca: Path | None = None
    auth: tuple[AuthMethod, ...] = ("scram-sha-256",)
    limits: TargetLimits = TargetLimits()
    channel_binding: Literal["prefer", "require", "disable"] = "prefer"


_KEYS = frozenset({"host", "port", "database", "user", "password", "tls", "ca", "auth", "limits"})
_LIMITS = frozenset({"connect_timeout", "max_sessions", "statement_timeout"})


def _values(name: str, settings: object, known: frozenset[str] = _KEYS) -> dict[str, object]:
    if isinstance(settings, Mapping):
        if unknown := sorted(str(key) for key in settings if key not in known):
            raise ConfigError(
                f"target {name}: unknown key {unknown[0]}; known keys: {', '.join(sorted(known))}"
            )
        return dict(settings)
    found = {key: getattr(settings, key) for key in known if hasattr(settings, key)}
    if not found:
        raise ConfigError(f"target {name}: must be a mapping with some of {', '.join(sorted(known))}")
    return found


def _string(name: str, key: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"target {name}: {key} must be a non-empty string")
    return value


def _number(name: str, key: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"target {name}: {key} must be a number from {low:g} to {high:g}")
    return value


def _limits(name: str, value: object) -> TargetLimits:
    if value is None:
        return TargetLimits()
    if isinstance(value, TargetLimits):
        return value
    value = _values(f"{name}: limits", value, _LIMITS)
    day = 86400.0
    return TargetLimits(
        connect_timeout=_number(name, "limits.connect_timeout", value.get("connect_timeout", 10.0), 0.1, day),
        max_sessions=int(_number(name, "limits.max_sessions", value.get("max_sessions", 0), 0, 1_000_000)),
        statement_timeout=_number(
            name, "limits.statement_timeout", value.get("statement_timeout", 0.0), 0, day
        ),
    )


def _tls(name: str, value: object) -> TlsMode:
    for mode in get_args(TlsMode):
        if value == mode:
            found: TlsMode = mode
            return found
    raise ConfigError(f"target {name}: tls must be one of {', '.join(get_args(TlsMode))}")


def _auth(name: str, value: object) -> tuple[AuthMethod, ...]:
    methods = (value,) if isinstance(value, str) else value
    known = get_args(AuthMethod)
    if not isinstance(methods, list | tuple) or not methods or any(method not in known for method in methods):
        raise ConfigError(f"target {name}: auth must list some of {', '.join(known)}")
    return tuple(methods)


def from_settings(name: str, settings: object, base: Path | None = None) -> Target:
    """One ``targets:`` entry as a :class:`Target`. ``base``: where relative file names start (the config's
    directory)."""
    values = _values(name, settings)
    for key in ("host", "database", "user"):
        values[key] = _string(name, key, values.get(key))
    ca, password = values.get("ca"), values.get("password")
    root = base or Path()
    return Target(
        name=name,
        host=str(values["host"]),
        database=str(values["database"]),
        user=str(values["user"]),
        password=None if password is None else reference_from(password, f"target {name}: password", root),
        port=int(_number(name, "port", values.get("port", 5432), 1, 65535)),
        tls=_tls(name, values.get("tls", "verify-full")),
        ca=None if ca is None else root / _string(name, "ca", str(ca)),
        auth=_auth(name, values.get("auth", ("scram-sha-256",))),
        limits=_limits(name, values.get("limits")),
    )
