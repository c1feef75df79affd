"""A mask entry: ``with:`` -> :class:`~sallyport.policy.decision.MaskSpec`, ``filter:`` ->
``Filter``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sallyport.core.yamltext import Document, YamlPath, suggest
from sallyport.policy.decision import Filter, MaskSpec
from sallyport.policy.file import raw
from sallyport.policy.mask_kinds import MASK_KINDS

_JOINS = (
    "'equality: joins' works as 'equality' in this version: joins, groups and DISTINCT see the"
    " mask's value. Where they must tell values apart, use 'with: hash', whose tokens are equal"
    " where values are"
)


def mask_filter(mask: raw.RawMask) -> Filter:
    """The filter of a mask entry; MASKED when it names none."""
    if isinstance(mask.filter, raw.RawEquality):
        return Filter.EQUALITY_JOINS
    return Filter.MASKED if mask.filter is msgspec.UNSET else Filter(mask.filter)


def filter_warnings(document: Document, masks: list[raw.RawMask]) -> Iterator[str]:
    """A warning for each entry that asks for joins, which see the mask's value for now."""
    for i, mask in enumerate(masks):
        if mask_filter(mask) is Filter.EQUALITY_JOINS:
            yield f"{document.place(('masks', i))}: {_JOINS}"


def mask_spec(document: Document, path: YamlPath, value: str | dict[str, Any] | None) -> MaskSpec:
    """The mask that ``with`` asks for: a name, or one name with its parameters. ConfigError."""
    if value is None:
        return MaskSpec("null")  # YAML reads a plain null as nothing
    kind, parameters = value, None
    if isinstance(value, dict):
        if len(value) != 1:
            raise document.error(
                path,
                "one mask is expected",
                "Write, for example, 'with: {partial: {keep_last: 4}}'",
            )
        kind, parameters = next(iter(value.items()))
    return _spec_of(document, path, str(kind), parameters)


def _spec_of(document: Document, path: YamlPath, name: str, parameters: Any) -> MaskSpec:
    kind = MASK_KINDS.get(name)
    if kind is None:
        fix = f"{suggest(name, MASK_KINDS)}Masks are {', '.join(MASK_KINDS)}"
        raise document.error(path, f"unknown mask {name!r}", fix)
    if kind.parameters is None:
        if parameters is not None:
            raise document.error(
                (*path, name), f"{name} has no parameters", f"Write 'with: {name}'"
            )
        return MaskSpec(name)
    if parameters is not None:
        values = document.convert((*path, name), kind.parameters)
    elif kind.example:
        fix = f"Write, for example, 'with: {{{name}: {kind.example}}}'"
        raise document.error(path, f"the mask {name!r} needs parameters", fix)
    else:
        values = kind.parameters()
    spec = MaskSpec(name, **msgspec.structs.asdict(values))
    fault = kind.fault(spec)
    if fault is not None:
        parameter, message, fix = fault
        raise document.error((*path, name, *((parameter,) if parameter else ())), message, fix)
    return spec
