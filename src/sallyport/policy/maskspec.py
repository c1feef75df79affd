"""``with:`` of a mask entry -> :class:`~sallyport.policy.decision.MaskSpec`."""

from __future__ import annotations

from typing import Any

from sallyport.core.yamltext import Document, YamlPath, suggest
from sallyport.policy import raw
from sallyport.policy.decision import MaskSpec

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

_MASK_EXAMPLES = {"partial": "{keep_last: 4}", "bucket": "{size: 1000}", "constant": "{value: hidden}"}


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
