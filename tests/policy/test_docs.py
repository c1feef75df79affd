"""docs/policy.md lists every key, action, group, pack, mask and variable; its example loads."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from sallyport.policy.actions import ACTIONS, GROUPS
from sallyport.policy.expectations import Expectation
from sallyport.policy.file import raw
from sallyport.policy.file.conditions import _EXAMPLE, VARIABLES
from sallyport.policy.file.load import PACKS, parse_policy
from sallyport.policy.mask_kinds import MASK_KINDS

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
STRUCTS = [s for s in vars(raw).values() if isinstance(s, type) and issubclass(s, msgspec.Struct)]
STRUCTS += [kind.parameters for kind in MASK_KINDS.values() if kind.parameters is not None]
WORDS = set(re.findall(r"[a-z][a-z0-9_.-]*[a-z0-9]|[a-z]", TEXT))


@pytest.mark.parametrize("struct", [*STRUCTS, Expectation], ids=lambda s: s.__name__)
def test_every_key(struct: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(struct):
        assert re.search(rf"(`|\b){field.encode_name}(`|:)|`{field.encode_name}`", TEXT), (
            field.encode_name
        )


@pytest.mark.parametrize("name", [*sorted(ACTIONS), *GROUPS, *PACKS, *MASK_KINDS])
def test_every_action_group_pack_and_mask(name: str) -> None:
    assert name in WORDS


def test_every_variable() -> None:
    for variable in VARIABLES:
        fields = _EXAMPLE[variable] if isinstance(_EXAMPLE[variable], dict) else None
        for name in [f"{variable}.{f}" for f in fields] if fields else [variable]:
            assert f"`{name}`" in TEXT, name


def test_every_tag_of_the_default_pack() -> None:
    for tag in parse_policy("version: 1\npacks: [pii-default]\n", "p").tags:
        assert f"`{tag}`" in TEXT


def test_the_example_loads() -> None:
    example = re.findall(r"```yaml\n(version: 1\n.*?)```", TEXT, re.DOTALL)
    assert len(example) == 1
    parse_policy(example[0], "docs/policy.md")
