"""A mask entry: ``with:`` -> :class:`~sallyport.policy.decision.MaskSpec`, ``filter:`` -> ``Filter``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sallyport.core.yamltext import Document, YamlPath, suggest
from sallyport.policy import raw
from sallyport.policy.decision import Filter, MaskSpec

_MASK_SHAPES: dict[str, Any] = {
    "redact": None,
    "null": None,
    "partial": raw.RawPartial,
    "email": None,
    "hash": raw.RawHash,
    "date": raw.RawDate,
    "bucket": raw.RawBucket,
    "constant": raw.RawConstant,
}

_UNNAMED_FILTER = (
    "this mask has no 'filter': conditions, groups and functions now see the mask's value (\"masked\"); "
    'before, such columns could only be selected ("deny"). '
    "Write 'filter: masked' or 'filter: deny' to say which you want"
)

_JOINS = (
    "'equality: joins' works as 'equality' in this version: joins, groups and DISTINCT see the mask's value. "
    "Where they must tell values apart, use 'with: hash', whose tokens are equal where values are"
)

_MASK_EXAMPLES = {"partial": "{keep_last: 4}", "bucket": "{size: 1000}", "constant": "{value: hidden}"}


def mask_filter(mask: raw.RawMask) -> Filter:
    """The filter of a mask entry; MASKED when it names none."""
    if isinstance(mask.filter, raw.RawEquality):
        return Filter.EQUALITY_JOINS
    return Filter.MASKED if mask.filter is msgspec.UNSET else Filter(mask.filter)


def filter_warnings(document: Document, masks: list[raw.RawMask]) -> Iterator[str]:
    """A warning for each entry without ``filter``, whose meaning changed when MASKED became the default, and for each that asks for
    joins, which see the mask's value for now.
    """
    for i, mask in enumerate(masks):
        if mask.filter is msgspec.UNSET:
            yield f"{document.place(('masks', i))}: {_UNNAMED_FILTER}"
        elif mask_filter(mask) is Filter.EQUALITY_JOINS:
            yield f"{document.place(('masks', i))}: {_JOINS}"


def mask_spec(document: Document, path: YamlPath, given: str | dict[str, Any] | None) -> MaskSpec:
    """The mask that ``with`` asks for: a name, or one name with its parameters. ConfigError."""
    if given is None:
        return MaskSpec("null")  # YAML reads a plain null as nothing
    kind, parameters = given, None
    if isinstance(given, dict):
        if len(given) != 1:
            raise document.error(
                path, "one mask is expected", "Write, for example, 'with: {partial: {keep_last: 4}}'"
            )
        kind, parameters = next(iter(given.items()))
    return _spec_of(document, path, str(kind), parameters)


def _spec_of(document: Document, path: YamlPath, kind: str, parameters: Any) -> MaskSpec:
    if kind not in _MASK_SHAPES:
        fix = f"{suggest(kind, _MASK_SHAPES)}Masks are {', '.join(_MASK_SHAPES)}"
        raise document.error(path, f"unknown mask {kind!r}", fix)
    shape = _MASK_SHAPES[kind]
    if shape is None:
        if parameters is not None:
            raise document.error((*path, kind), f"{kind} has no parameters", f"Write 'with: {kind}'")
        return MaskSpec(kind)
    if parameters is None:
        if kind in _MASK_EXAMPLES:
            fix = f"Write, for example, 'with: {{{kind}: {_MASK_EXAMPLES[kind]}}}'"
            raise document.error(path, f"the mask {kind!r} needs parameters", fix)
        values = shape()
    else:
        values = document.convert((*path, kind), shape)
    spec = MaskSpec(kind, **{name: getattr(values, name) for name in values.__struct_fields__})
    if (
        spec.keep_first < 0
        or spec.keep_last < 0
        or (kind == "partial" and not spec.keep_first + spec.keep_last)
    ):
        fix = "Write keep_first, keep_last or both, at least 1 together; use redact to keep nothing"
        raise document.error((*path, kind), "the number of characters to keep is not usable", fix)
    if kind == "bucket" and not 0 < spec.size < float("inf"):
        raise document.error(
            (*path, kind, "size"), "a bucket's size must be a positive number", "Write, for example, 1000"
        )
    return spec
