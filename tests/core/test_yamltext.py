"""Errors in YAML files name line, column and what would be right."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from sallyport.core.errors import ConfigError
from sallyport.core.yamltext import load_yaml
from sallyport.policy.file.load import parse_policy

PLACES = [
    ("version: 1\nruls: []\n", "p.yaml:2:1: ruls: unknown key. Did you mean 'rules'? "),
    ("version: 1\nrules:\n  - name: r\n    alow: [read]\n",
    "p.yaml:4:5: rules[0].alow: unknown key. Did you mean 'allow'? "),
    ("version: 1\nrules: [{name: r, allow: [read, wirte]}]\n",
    "p.yaml:2:33: rules[0].allow[1]: unknown action 'wirte'. Did you"),
    ("version: 1\nmasks: [{columns: [a.b.c], with: redact, filter: equal}]\n",
    "p.yaml:2:42: masks[0].filter: 'equal' is not known. Did you mean 'equality'?"),
    ("version: 1\ntags: {a: [b.c.d], a: []}\n", "p.yaml:2:20: the key 'a' is listed twice (first "
                                                "on line 2)"),
    ("version: 1\n# ä€𝄞\ntags: {ä€𝄞: [x]}\n", "p.yaml:3:14: tags.ä€𝄞[0]: 'x' has 1 part, not 3"),
    ("version: 1\nrules: [}\n", "p.yaml:2:9: not valid YAML: "),
    ("", "p.yaml:1:1: the file is empty"),
    ("version: 1\nrules: {name: r}\n",
    "p.yaml:2:1: rules: a list ([a, b]) is expected here, not a mapping"),
    ("version: 1\nrules: [{name: r, allow: read}]\n",
    "p.yaml:2:19: rules[0].allow: a list ([a, b]) is expected here, not a text"),
    ("version: 1\nrules: [{name: r, subjects: agents}]\n",
    ("p.yaml:2:19: rules[0].subjects: a mapping (key: value) is expected here, not a text. Known"
     " keys: actor, agent, ")),
    ("version: one\n", "p.yaml:1:1: version: a whole number is expected here, not a text"),
    ("version: 1\nlimits: {statement_timeout: 1.5}\n",
    ("p.yaml:2:10: limits.statement_timeout: a whole number or a text is expected here, not a"
     " number")),
    ("version: 1\ntags:\n  a: [b.c.d]\n  e: b.c.d\n",
    "p.yaml:4:3: tags.e: a list ([a, b]) is expected here, not a text"),
    ("version: 1\ntags:\n  a: [b.c.d]\n  e: [b.c.d, 7]\n",
    "p.yaml:4:14: tags.e[1]: a text is expected here, not a whole number"),
    ("version: 1\nmasks: [{columns: [a.b.c], with: redact, filter: 7}]\n",
    "p.yaml:2:42: masks[0].filter: "),
]  # fmt: skip


class _Inner(msgspec.Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    mode: Literal["fast", "slow"] | None = None
    size: Annotated[int, msgspec.Meta(ge=1)] | Literal["all"] = 1


class _Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parts: dict[str, tuple[_Inner, ...]] = {}
    pair: tuple[int, str] | None = None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parts: {}", "f:1:1: the key 'name' is missing. Add it"),
        (
            "name: n\nparts:\n  a: [{}]\n  b: [{}, {seconds: -1}]",
            "f:4:12: parts.b[1].seconds: expected 'float' > 0.0",
        ),
        ("name: n\nparts: {a: [{seconds: x}]}", "f:2:14: parts.a[0].seconds: a number is expected"),
        ("name: n\nparts: {a: [{mode: slo}]}", "f:2:14: parts.a[0].mode: 'slo' is not known. Did"),
        (
            "name: n\nparts: {a: [{mode: 3}]}",
            "f:2:14: parts.a[0].mode: a text is expected here, not",
        ),
        ("name: n\nparts: {a: [{size: 0}]}", "f:2:14: parts.a[0].size: expected 'int' >= 1"),
        ("name: n\nparts: {a: [{size: al}]}", "f:2:14: parts.a[0].size: 'al' is not known. Did"),
        ("name: n\nparts: {a: [{sise: 1}]}", "f:2:14: parts.a[0].sise: unknown key. Did you mean"),
        ("name: n\npair: [1, 2]", "f:2:11: pair[1]: a text is expected here, not a whole number"),
        ("name: n\npair: [1]", "f:2:1: pair: expected 'array' of length 2, got 1"),
        ("name:", "f:1:1: name: a text is expected here, but there is nothing"),
    ],
)
def test_the_place_is_found_in_the_data(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, "f").convert((), _Outer)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("text", "said"), PLACES)
def test_the_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "p.yaml")
    assert str(caught.value).startswith(said)


def test_words_that_could_stand_there() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'equality'\? Known values: .*deny.*"):
        parse_policy(
            "version: 1\nmasks: [{columns: [a.b.c], with: redact, filter: equal}]\n", "p.yaml"
        )
