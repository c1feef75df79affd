"""Policy files: YAML text -> :class:`~sallyport.policy.model.Policy`.

Everything wrong is a ConfigError that names file, line, what and what to do. A policy is taken
whole or not at all. Packs are policies of the same format that ship with Sallyport
(``packs/*.yaml``); their rules come before the file's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sallyport.core.errors import ConfigError
from sallyport.core.files import read_trusted
from sallyport.core.yamltext import Document, YamlPath, decode_utf8, load_yaml, suggest
from sallyport.policy.actions import expand
from sallyport.policy.decision import Outcome
from sallyport.policy.file import raw
from sallyport.policy.file.conditions import compile_condition
from sallyport.policy.file.contain import injection_scan, reviewers_of, seconds_of, with_containment
from sallyport.policy.file.masks import filter_warnings, mask_filter, mask_spec
from sallyport.policy.file.patterns import Pattern, glob, is_system_schema, parse_pattern
from sallyport.policy.file.spellings import spellings
from sallyport.policy.model import (
    DAYS,
    LimitEntry,
    Mask,
    Policy,
    Reviewers,
    Rule,
    SubjectLimits,
    SubjectMatch,
    Window,
)
from sallyport.sql.catalog.functions import SLEEPING
from sallyport.sql.names.search_path import split_search_path
from sallyport.sql.utility.custom_settings import is_pattern

T = TypeVar("T")

PACKS = ("read-only", "no-ddl", "no-unbounded-write", "pii-default", "contain-untrusted")

#: Columns that somebody looked at: `policy coverage` does not ask about them again.
REVIEWED_TAG = "clear"


def load_policy(path: Path | str) -> Policy:
    """Read a policy file. Raises ConfigError."""
    path = Path(path)
    try:
        content = read_trusted(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the policy cannot be read: {error.strerror}. Check the path and its"
            " permissions"
        ) from None
    return parse_policy(decode_utf8(content, str(path)), str(path))


def parse_policy(text: str, filename: str) -> Policy:
    """A policy from its text. ``filename`` is used in messages. Raises ConfigError."""
    document = load_yaml(text, filename)
    shape = document.convert((), raw.RawPolicy)
    if shape.version != 1:
        raise document.error(
            ("version",), f"version {shape.version} is not supported", "Write 'version: 1'"
        )
    digest = hashlib.sha256(text.encode())
    parts: list[Policy] = []
    contains: list[tuple[str, Document, raw.RawContain | None]] = []
    for i, name in enumerate(shape.packs):
        if name not in PACKS:
            raise document.error(
                ("packs", i),
                f"unknown pack {name!r}",
                f"{suggest(name, PACKS)}Packs are {', '.join(PACKS)}",
            )
        if name in shape.packs[:i]:
            raise document.error(("packs", i), f"pack {name!r} is listed twice", "Remove one")
        pack_text = _pack_text(name)
        digest.update(b"\0" + pack_text.encode())
        pack = load_yaml(pack_text, f"pack {name}")
        pack_shape = pack.convert((), raw.RawPolicy)
        contains.append((name, pack, pack_shape.contain))
        parts.append(_Loader(pack, pack_shape, name).policy())
    contains.append(("", document, shape.contain))
    own = _Loader(document, shape, "", [p.tags for p in parts]).policy()
    merged = _merged([*parts, own], digest.hexdigest()[:16], filename, tuple(shape.packs))
    merged = with_containment(merged, contains)
    if shape.injection is not None:
        merged = replace(merged, injection=injection_scan(merged, document, shape.injection))
    record = shape.record or raw.RawRecord()
    return replace(
        merged, text=text, record_statements=record.statements, record_results=record.results
    )


def pack_tags(name: str) -> Mapping[str, tuple[Pattern, ...]]:
    """The tags of a pack, whatever policy is in force. KeyError for what is no pack."""
    if name not in PACKS:
        raise KeyError(name)
    pack = load_yaml(_pack_text(name), f"pack {name}")
    return _Loader(pack, pack.convert((), raw.RawPolicy), name).policy().tags


def _pack_text(name: str) -> str:
    return resources.files("sallyport.policy").joinpath("packs", f"{name}.yaml").read_text("utf-8")


def _merged(parts: list[Policy], version: str, filename: str, packs: tuple[str, ...]) -> Policy:
    tags: dict[str, tuple[Pattern, ...]] = {}
    for part in parts:
        for tag, patterns in part.tags.items():
            tags[tag] = tags.get(tag, ()) + patterns
    return Policy(
        version=version,
        filename=filename,
        tags=tags,
        packs=packs,
        rules=tuple(r for p in parts for r in p.rules),
        masks=tuple(m for p in parts for m in p.masks),
        functions=tuple(f for p in parts for f in p.functions),
        search_paths=frozenset(s for p in parts for s in p.search_paths),
        settings=frozenset(s for p in parts for s in p.settings),
        limits=tuple(entry for p in parts for entry in p.limits),
        warnings=tuple(w for p in parts for w in p.warnings),
        notices=all(p.notices for p in parts),
        trusted_views=tuple(v for p in parts for v in p.trusted_views),
        untrusted=tuple(u for p in parts for u in p.untrusted),
    )


class _Loader:
    """Gives meaning to one document, remembering where everything stands."""

    def __init__(
        self,
        document: Document,
        shape: raw.RawPolicy,
        pack: str,
        other_tags: Iterable[Iterable[str]] = (),
    ) -> None:
        self.document, self.shape, self.pack = document, shape, pack
        self.known_tags = set(shape.tags).union(*other_tags)

    def policy(self) -> Policy:
        shape, rules = self.shape, []
        names: dict[str, int] = {}
        for i, raw_rule in enumerate(shape.rules):
            path = ("rules", i)
            if raw_rule.name in names:
                first = f"first on line {self.document.line(('rules', names[raw_rule.name]))}"
                raise self.document.error(
                    (*path, "name"),
                    f"two rules are named {raw_rule.name!r} ({first})",
                    "Rename one",
                )
            names[raw_rule.name] = i
            rules.append(self._rule(path, raw_rule))
        return Policy(
            version="",
            tags={tag: self._tagged(("tags", tag), values) for tag, values in shape.tags.items()},
            rules=tuple(rules),
            masks=tuple(self._mask(("masks", i), m) for i, m in enumerate(shape.masks)),
            functions=tuple(
                self._function(("functions", i), f) for i, f in enumerate(shape.functions)
            ),
            search_paths=frozenset(
                self._search_path(("search_paths", i), s) for i, s in enumerate(shape.search_paths)
            ),
            settings=frozenset(
                self._setting(("settings", i), s) for i, s in enumerate(shape.settings)
            ),
            limits=self._limits(),
            warnings=(*self._unused_tags(), *filter_warnings(self.document, shape.masks)),
            notices=shape.notices,
            trusted_views=tuple(self._view(name, word) for name, word in shape.views.items()),
            untrusted=self._patterns(("untrusted",), shape.untrusted, 3),
        )

    # -- rules
    # ----------------------------------------------------------------------------------------------

    def _rule(self, path: YamlPath, rule: raw.RawRule) -> Rule:
        effect, key, named = self._effect(path, rule)
        if not rule.name.strip():
            raise self.document.error(
                (*path, "name"), "a rule needs a name", "Say in a few words what the rule is for"
            )
        if rule.reviewers and effect is not Outcome.HOLD:
            raise self.document.error(
                (*path, "reviewers"), "only 'hold' rules have reviewers", "Remove it or use 'hold'"
            )
        if rule.mode is not None and effect is not Outcome.HOLD:
            raise self.document.error(
                (*path, "mode"), "only 'hold' rules have a mode", "Remove it or use 'hold'"
            )
        if rule.expires is not None and effect is not Outcome.HOLD:
            raise self.document.error(
                (*path, "expires"), "only 'hold' rules expire", "Remove it or use 'hold'"
            )
        if rule.record is not None and effect is Outcome.DENY:
            raise self.document.error(
                (*path, "record"), "a 'deny' rule gives no results", "Remove it"
            )
        for field in ("targets", "relations", "columns", "tags"):
            self._not_empty((*path, field), getattr(rule, field))
        actions: frozenset[str] = frozenset()
        for i, name in enumerate(named):
            actions |= self._try((*path, key, i), partial(expand, [name]))
        return Rule(
            name=rule.name,
            effect=effect,
            actions=actions,
            named=tuple(named),
            subjects=self._subjects((*path, "subjects"), rule.subjects),
            targets=self._targets(rule.targets),
            relations=self._patterns((*path, "relations"), rule.relations, 2),
            columns=self._patterns((*path, "columns"), rule.columns, 3),
            tags=self._tags((*path, "tags"), rule.tags),
            when=self._condition((*path, "when"), rule.when),
            message=rule.message,
            reviewers=self._reviewers((*path, "reviewers"), rule.reviewers),
            expires=self._seconds((*path, "expires"), rule.expires) or 900.0,
            mode=rule.mode or "wait",
            windows=self._windows((*path, "window"), rule.window),
            line=self.document.line(path),
            pack=self.pack,
            results=rule.record.results if rule.record is not None else "",
        )

    def _effect(self, path: YamlPath, rule: raw.RawRule) -> tuple[Outcome, str, list[str]]:
        effects = [
            (o, o.value, getattr(rule, o.value))
            for o in Outcome
            if getattr(rule, o.value) is not None
        ]
        if len(effects) != 1:
            have = "none" if not effects else " and ".join(key for _, key, _ in effects)
            fix = "Write one list of actions, for example 'allow: [read]'"
            raise self.document.error(
                path, f"exactly one of allow, hold and deny is needed, not {have}", fix
            )
        effect, key, named = effects[0]
        if not named:
            raise self.document.error(
                (*path, key), "the list of actions is empty", "Name actions, for example [read]"
            )
        return effect, key, named

    def _condition(self, path: YamlPath, source: str | None) -> Any:
        if source is None:
            return None
        try:
            return compile_condition(source)
        except ValueError as error:
            raise self.document.error(
                path, f"the condition {error}", "docs/policy.md lists what conditions can use"
            ) from None

    def _reviewers(self, path: YamlPath, reviewers: raw.RawReviewers | None) -> Reviewers | None:
        return reviewers_of(self.document, path, reviewers)

    def _windows(
        self, path: YamlPath, windows: raw.RawWindow | list[raw.RawWindow] | None
    ) -> tuple[Window, ...]:
        if windows is None:
            return ()
        if isinstance(windows, list):
            self._not_empty(path, windows)
            return tuple(self._window((*path, i), w) for i, w in enumerate(windows))
        return (self._window(path, windows),)

    def _window(self, path: YamlPath, window: raw.RawWindow) -> Window:
        self._not_empty((*path, "days"), window.days)
        start, end = (
            self._minutes((*path, "from"), window.from_),
            self._minutes((*path, "to"), window.to),
        )
        if start == end:
            raise self.document.error(
                (*path, "to"), "the window is empty", "Write different times for 'from' and 'to'"
            )
        try:
            ZoneInfo(window.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            fix = "Write a name like Europe/Berlin or UTC"
            raise self.document.error(
                (*path, "timezone"), f"unknown time zone {window.timezone!r}", fix
            ) from None
        days = frozenset(DAYS.index(d) for d in window.days or DAYS)
        return Window(days, start, end, window.timezone)

    def _minutes(self, path: YamlPath, text: str) -> int:
        match = re.fullmatch(r"([01]?\d|2[0-4]):([0-5]\d)", text)
        minutes = int(match.group(1)) * 60 + int(match.group(2)) if match else -1
        if not 0 <= minutes <= 1440:
            raise self.document.error(
                path, f"{text!r} is not a time of day", "Write hours and minutes like 08:30"
            )
        return minutes

    # -- masks, limits, functions
    # -----------------------------------------------------------------------------

    def _mask(self, path: YamlPath, mask: raw.RawMask) -> Mask:
        if not mask.tags and not mask.columns:
            fix = "Write 'tags: [...]' or 'columns: [\"schema.relation.column\"]'"
            raise self.document.error(path, "a mask needs tags or columns", fix)
        for field in ("tags", "columns", "targets"):
            self._not_empty((*path, field), getattr(mask, field))
        exempt = self._subjects((*path, "except"), mask.except_) if mask.except_ else None
        if exempt == SubjectMatch():
            fix = "Name groups or ids, or remove 'except'"
            raise self.document.error(
                (*path, "except"), "an empty 'except' would lift the mask for everyone", fix
            )
        return Mask(
            spec=mask_spec(self.document, (*path, "with"), mask.with_),
            filter=mask_filter(mask),
            columns=self._patterns((*path, "columns"), mask.columns, 3),
            tags=self._tags((*path, "tags"), mask.tags),
            subjects=self._subjects((*path, "subjects"), mask.subjects),
            exempt=exempt,
            targets=self._targets(mask.targets),
            line=self.document.line(path),
            pack=self.pack,
            file=Path(self.document.filename).name,
            write_filter=mask.write_filter == "masked",
            write=mask.write == "allow",
            copies=mask.copies == "masked",
        )

    def _view(self, name: str, word: str) -> Pattern:
        path = ("views", name)
        if word != "trusted":
            fix = (
                f"{suggest(word, ['trusted'])}Write, for example, 'views: {{\"{name}\": trusted}}'"
            )
            raise self.document.error(path, f"unknown value {word!r}", fix)
        pattern = self._try(path, lambda: parse_pattern(name, 2, "public.customer_names"))
        if is_system_schema(pattern.parts[0]):
            fix = "Remove it; the gateway itself knows which system views are safe"
            raise self.document.error(path, "system views cannot be trusted by policy", fix)
        return pattern

    def _limits(self) -> tuple[LimitEntry, ...]:
        entries = self.shape.limits
        if entries is None:
            return ()
        if isinstance(entries, list):
            return tuple(self._limit(("limits", i), entry) for i, entry in enumerate(entries))
        return (self._limit(("limits",), entries),)

    def _limit(self, path: YamlPath, entry: raw.RawLimits) -> LimitEntry:
        values: dict[str, Any] = {}
        for name in SubjectLimits.__slots__:
            value = getattr(entry, name)
            if name in ("statement_timeout", "session"):
                value = self._seconds((*path, name), value)
            if value is not None and value < 1:
                raise self.document.error(
                    (*path, name), "a limit must be 1 or more", "Remove the key for no limit"
                )
            values[name] = value
        self._not_empty((*path, "targets"), entry.targets)
        subjects = self._subjects((*path, "subjects"), entry.subjects)
        return LimitEntry(SubjectLimits(**values), subjects, self._targets(entry.targets))

    def _function(self, path: YamlPath, text: str) -> Pattern:
        pattern = self._try(path, lambda: parse_pattern(text, 2, "app.slugify"))
        sleeps = pattern.parts[0] == "pg_catalog" and pattern.parts[1] in SLEEPING
        if is_system_schema(pattern.parts[0]) and not sleeps:
            fix = "Remove it; the gateway itself knows which system functions are safe"
            raise self.document.error(path, "system functions cannot be trusted by policy", fix)
        return pattern

    def _search_path(self, path: YamlPath, text: str) -> tuple[str, ...]:
        names = split_search_path(text)
        if not names or any(n.startswith("pg_temp") for n in names):
            raise self.document.error(
                path,
                f"{text!r} is not a usable search_path",
                "Write schema names like 'app, public'",
            )
        return names

    def _setting(self, path: YamlPath, text: str) -> str:
        if not is_pattern(text.lower()):
            fix = (
                "Write names like app.tenant, or app.* for all of app; sallyport is the"
                " gateway's own"
            )
            raise self.document.error(path, f"{text!r} is not a custom setting", fix)
        return text.lower()

    # -- parts
    # ----------------------------------------------------------------------------------------------

    def _subjects(self, path: YamlPath, match: raw.RawSubjects | None) -> SubjectMatch:
        if match is None:
            return SubjectMatch()
        for field in ("groups", "ids", "issuer", "agent", "actor", "claims"):
            self._not_empty((*path, field), getattr(match, field))
        claims = []
        for name, value in (match.claims or {}).items():
            values = value if isinstance(value, list) else [value]
            if not values or any(not isinstance(v, (str, int, float, bool)) for v in values):
                fix = "Write a text, number, true or false, or a list of them"
                raise self.document.error(
                    (*path, "claims", name), "a claim's value must be plain", fix
                )
            claims.append((name, tuple(values)))
        return SubjectMatch(
            groups=frozenset(match.groups or ()),
            ids=frozenset(match.ids or ()),
            issuers=frozenset(_listed(match.issuer)),
            agents=frozenset(_listed(match.agent)),
            actors=frozenset(_listed(match.actor)),
            claims=tuple(claims),
        )

    def _tags(self, path: YamlPath, tags: list[str] | None) -> tuple[str, ...]:
        for i, tag in enumerate(tags or ()):
            if tag not in self.known_tags:
                fix = f"{suggest(tag, self.known_tags)}Declare it under 'tags:'"
                raise self.document.error((*path, i), f"unknown tag {tag!r}", fix)
        return tuple(tags or ())

    def _targets(self, targets: list[str] | None) -> tuple[re.Pattern[str], ...]:
        return tuple(glob(t) for t in targets or ())

    def _patterns(self, path: YamlPath, texts: list[str] | None, parts: int) -> tuple[Pattern, ...]:
        example = "public.customers" if parts == 2 else "public.customers.email"
        out: list[Pattern] = []
        for i, text in enumerate(texts or ()):
            out.append(self._try((*path, i), partial(parse_pattern, text, parts, example)))
        return tuple(out)

    def _tagged(self, path: YamlPath, texts: list[str]) -> tuple[Pattern, ...]:
        """A pack cannot know how a schema spells its names: it means all spellings."""
        if not self.pack:
            return self._patterns(path, texts, 3)
        return tuple(
            parse_pattern(f"{schema}.{relation}.{column}", 3, "")
            for schema, relations, columns in (text.split(".") for text in texts)
            for relation in spellings(relations)
            for column in spellings(columns)
        )

    def _seconds(self, path: YamlPath, duration: str | int | None) -> float | None:
        return seconds_of(self.document, path, duration)

    def _not_empty(self, path: YamlPath, value: Any) -> None:
        if value is not None and not isinstance(value, str) and len(value) == 0:
            raise self.document.error(
                path,
                "the list is empty and would match nothing",
                "Name at least one, or remove the key",
            )

    def _try(self, path: YamlPath, make: Callable[[], T]) -> T:
        try:
            return make()
        except ValueError as error:
            raise self.document.error(path, str(error)) from None

    def _unused_tags(self) -> Iterable[str]:
        used = {t for r in self.shape.rules for t in r.tags or ()} | {
            t for m in self.shape.masks for t in m.tags or ()
        }
        for tag in self.shape.tags:
            if tag not in used and not self.pack and tag != REVIEWED_TAG:
                yield f"{self.document.place(('tags', tag))}: no rule or mask uses the tag {tag!r}"


def _listed(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value
