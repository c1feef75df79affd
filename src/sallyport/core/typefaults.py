"""Where data does not have the type that it should: the place, and what the type allows there,
found in data and type rather than in the words of a validator.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

_KINDS: Mapping[type, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    dict: "object",
    list: "array",
    tuple: "array",
    set: "array",
    frozenset: "array",
    type(None): "null",
}


class Fault(NamedTuple):
    """``value``, at ``path``, has none of the ``types``, though each of its parts has what they
    want. ``text``: what msgspec says of it.
    """

    path: tuple[str | int, ...]
    value: Any
    types: tuple[Any, ...]
    text: str


def innermost_fault(value: Any, type_: Any, path: tuple[str | int, ...] = ()) -> Fault:
    """Of a ``value`` that msgspec does not convert to ``type_``."""
    alternatives = tuple(_alternatives(type_))
    for step, part, part_type in _parts(value, alternatives):
        if _refusal(part, part_type):
            return innermost_fault(part, part_type, (*path, step))
    return Fault(path, value, alternatives, _refusal(value, type_))


def _refusal(value: Any, type_: Any) -> str:
    """Why it is not converted; "" when it is."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _alternatives(type_: Any) -> Iterator[Any]:
    """The types of a union that data can have, without what is only said about them."""
    if get_origin(type_) is Annotated:
        yield from _alternatives(get_args(type_)[0])
    elif get_origin(type_) in (Union, types.UnionType):
        for member in get_args(type_):
            yield from _alternatives(member)
    elif type_ is not msgspec.UnsetType:
        yield type_


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


_Part = tuple[str | int, Any, Any]


def _parts(value: Any, alternatives: tuple[Any, ...]) -> Iterator[_Part]:
    """(step, part, its type) of what is directly inside, in the order of the data."""
    for type_ in alternatives:
        if isinstance(value, dict) and _kind(type_) == "object":
            yield from _entries(value, type_)
        elif isinstance(value, list) and _kind(type_) == "array":
            yield from _items(value, get_args(type_))


def _entries(value: dict[str, Any], type_: Any) -> Iterator[_Part]:
    """Keys that a structure does not know have no type."""
    if _is_struct(type_):
        hints = get_type_hints(type_, include_extras=True)
        fields = {f.encode_name: hints[f.name] for f in msgspec.structs.fields(type_)}
        yield from ((key, part, fields[key]) for key, part in value.items() if key in fields)
    elif arguments := get_args(type_):
        yield from ((key, part, arguments[1]) for key, part in value.items())


def _items(value: list[Any], arguments: tuple[Any, ...]) -> Iterator[_Part]:
    if len(arguments) == 1 or Ellipsis in arguments:
        arguments = (arguments[0],) * len(value)
    for i, (part, type_) in enumerate(zip(value, arguments, strict=False)):
        yield i, part, type_


def _kind(type_: Any) -> str:
    """A JSON kind; "" of one that is none."""
    if _is_struct(type_):
        return "object"
    if get_origin(type_) is Literal:
        return kind_of(get_args(type_)[0])
    return _KINDS.get(get_origin(type_) or type_, "")


def kind_of(value: Any) -> str:
    """``str``, ``int``, ``float``, ``bool``, ``object``, ``array`` or ``null``."""
    return _KINDS[type(value)]


def kinds_of(alternatives: tuple[Any, ...]) -> frozenset[str]:
    """The kinds of values that these types take; empty where that cannot be said."""
    kinds = frozenset(map(_kind, alternatives))
    if "" in kinds:
        return frozenset()
    return kinds | {"int"} if "float" in kinds else kinds


def known_keys(alternatives: tuple[Any, ...]) -> list[str]:
    """Sorted: the keys of the mappings among these types; empty where any may stand there."""
    fields = [
        f for type_ in alternatives if _is_struct(type_) for f in msgspec.structs.fields(type_)
    ]
    return sorted({field.encode_name for field in fields})


def required_keys(alternatives: tuple[Any, ...]) -> list[str]:
    """Those of :func:`known_keys` that must be there."""
    fields = [
        f for type_ in alternatives if _is_struct(type_) for f in msgspec.structs.fields(type_)
    ]
    return [field.encode_name for field in fields if field.required]


def literals(alternatives: tuple[Any, ...]) -> list[Any]:
    """The values that may stand there, where only some may."""
    return [
        value for type_ in alternatives if get_origin(type_) is Literal for value in get_args(type_)
    ]
