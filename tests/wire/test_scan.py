"""The scanner of texts, compiled and interpreted: both say the same. What it says is tested against
PostgreSQL's grammar in tests/sql.
"""

from __future__ import annotations

import importlib.util
import random
import re
from pathlib import Path
from types import ModuleType

import pytest

from sallyport.wire import scan as installed

SOURCE = Path(installed.__file__).with_name("scan.py")


def _interpreted() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scan_interpreted", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interpreted = _interpreted()
_PARTS = re.split(
    " ",
    "values in array where atomic position select with update set ( ) ( ) [ ] , , ; = . :: 1 -2 3.5"
    " $2 ($3) ($4),($5)  'a' '' ' \" $1 $$ $t$ e'\\' -- /* */ \\ \n é null true now() (1) (2),(3)"
    " (1,2,3) x b'1' u&' \t \x0b 2147483648 99999999999999999999 0x1e-5 reg date numeric(1,2)",
)


def some_text(rng: random.Random) -> bytes:
    return "".join(
        rng.choice(_PARTS) + rng.choice(["", "", " "]) for _ in range(rng.randint(0, 30))
    ).encode()


def test_the_interpreted_module_is_not_the_compiled_one() -> None:
    assert interpreted.COMPILED is False


def test_compiled_and_interpreted_say_the_same() -> None:
    rng = random.Random(5)
    for _ in range(5_000):
        text = some_text(rng)
        for limit in (1 << 40, 10):
            for condense in (False, True):
                assert installed.outline(text, limit, condense) == interpreted.outline(
                    text, limit, condense
                )
        assert installed.literals(text, 2000) == interpreted.literals(text, 2000)
        assert installed.nesting(text) == interpreted.nesting(text)
        assert installed.runs(text, 2) == interpreted.runs(text, 2)


def test_compiled_and_interpreted_shorten_the_same_parameters() -> None:
    rng = random.Random(3)
    shortened = 0
    for _ in range(300):
        numbers = [str(rng.randint(0, 200)) for _ in range(rng.randint(30, 80))]
        items = [f"${n}{rng.choice(['', '', '', '::int', '::text', '+1'])}" for n in numbers]
        text = (
            f"select array[{','.join(items)}], a in ({','.join(f'${n}' for n in range(300, 345))})"
        ).encode()
        assert installed.outline(text, 1 << 40, True) == interpreted.outline(text, 1 << 40, True)
        shortened += bool(installed.outline(text, 1 << 40, True)[3])
    assert shortened == 300


def test_any_bytes_are_read() -> None:
    """Nothing raises or reads past the end, whatever stands there."""
    rng = random.Random(9)
    for _ in range(20_000):
        text = bytes(
            rng.choice(b"'\"$eE\\-/*([,;=.:01aU&bn\xe9\x80 \n") for _ in range(rng.randint(0, 24))
        )
        assert len(installed.outline(text, 1 << 40, True)[1]) == len(text)


@pytest.mark.parametrize("module", [installed, interpreted])
def test_runs_of_operator_characters(module: ModuleType) -> None:
    pattern = re.compile(rb"[~!@#^&|`?+\-*/%<>=]{5,}")
    rng = random.Random(1)
    for _ in range(2_000):
        text = bytes(
            rng.choice(b"~!@#^&|`?+-*/%<>=a 9\xff;:_.,$\\'\"") for _ in range(rng.randint(0, 40))
        )
        assert module.runs(text, 5) == [match[0] for match in pattern.finditer(text)]
    for c in range(256):
        assert bool(module.runs(bytes([c]) * 5, 5)) == bool(pattern.fullmatch(bytes([c]) * 5))
