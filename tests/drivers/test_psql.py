"""psql, as people and agents use it: describe commands, scripts, variables, \\copy both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drivers.expected import (
    COLUMNS,
    COMPUTED,
    NOTICE,
    QUERY,
    check_computed,
    check_masked,
    check_no_secrets,
    server_of,
    truth,
)
from tests.support.gateway import DBA, PRIVACY, Gateway
from tests.support.psql import run_psql

_PLAIN = [
    "d",
    "dt",
    "dt+",
    "l",
    "df",
    "dn",
    "dv",
    "di",
    "ds",
    "dT",
    "du",
    "dp",
    "dx",
    "dl",
    "dconfig work_mem",
    "dconfig+ DateStyle",
    "conninfo",
    "encoding",
]
_NAMED = [
    "d customers",
    "d+ orders",
    "d customer_orders",
    "d orders_2025",
    "df order_total",
]


def _ok(door: Gateway, script: str, *arguments: str) -> str:
    done = run_psql(door.dsn(), script, *arguments)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_a_query(door: Gateway) -> None:
    output = _ok(door, f"{QUERY};", "--field-separator=|")
    rows = [line.split("|") for line in output.splitlines()]
    rows = [[int(row[0]), *row[1:5], row[5] or None, row[6]] for row in rows]
    check_masked([tuple(row) for row in rows], door)


def test_computed_from_masks(door: Gateway) -> None:
    done = run_psql(door.dsn(), f"{COMPUTED};", "--field-separator=|")
    rows = [line.split("|") for line in done.stdout.splitlines()]
    check_computed([(int(row[0]), *row[1:]) for row in rows], door)
    notice, detail, hint = done.stderr.splitlines()
    assert notice == f"NOTICE:  00000: {NOTICE}"
    assert detail.startswith("DETAIL:  ") and hint.startswith("HINT:  ")


@pytest.mark.parametrize(
    "options", ["", "(VERBOSE)", "(FORMAT json)", "(ANALYZE, TIMING off, SUMMARY off)"]
)
def test_explain_of_what_is_computed_from_masks(door: Gateway, options: str) -> None:
    done = run_psql(door.dsn(), f"EXPLAIN {options} {COMPUTED};")
    assert done.returncode == 0
    assert "customers" in done.stdout
    assert "Buffers" not in done.stdout
    refused = run_psql(door.dsn(), f"EXPLAIN (ANALYZE, BUFFERS) {COMPUTED};")
    assert "[SP1201]" in refused.stderr


@pytest.mark.parametrize("command", _PLAIN + _NAMED)
def test_describe_commands(door: Gateway, command: str) -> None:
    """What psql shows of the schema is what it shows without the gateway."""
    past = f"{server_of(door).agent_dsn}?sslmode={'require' if door.ca else 'disable'}"
    direct = run_psql(past, f"\\{command}\n")
    if direct.stderr:
        pytest.skip("this psql is too old for that server")
    through = run_psql(door.dsn(), f"\\{command}\n")
    assert through.stderr == ""
    if command not in ("conninfo", "du"):  # these say who and where we are
        assert through.stdout == direct.stdout
    check_no_secrets(through.stdout, door)


@pytest.mark.parametrize("command", ["df+", "sf"])
def test_the_source_of_functions_stays_in_the_database(door: Gateway, command: str) -> None:
    """What a function's text holds may be a secret."""
    done = run_psql(door.dsn(), f"\\{command} order_total\nSELECT 'alive';\n")
    assert "[SP1001] function-source is not allowed" in done.stderr
    assert "quantity" not in done.stdout + done.stderr
    assert done.stdout.strip() == "alive"


def test_copy_out_is_masked(door: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    _ok(
        door,
        f"\\copy (SELECT {COLUMNS} FROM customers ORDER BY id) TO '{file}' WITH (FORMAT csv,"
        " HEADER)\n",
    )
    text = file.read_text()
    assert text.count("\n") == 2001
    check_no_secrets(text, door)


@pytest.mark.parametrize("options", ["", "WITH (FORMAT csv)", "WITH (FORMAT binary)"])
def test_copy_out_of_a_table(door: Gateway, tmp_path: Path, options: str) -> None:
    file = tmp_path / "out"
    _ok(door, f"\\copy customers TO '{file}' {options}\n")
    assert b"Mei Silva" in file.read_bytes()
    check_no_secrets(file.read_bytes(), door)


def test_copy_in(door: Gateway, tmp_path: Path, spare_products: range) -> None:
    file = tmp_path / "in.csv"
    file.write_text("".join(f'{i},COPIED-{i},"Thing, ""{i}""",1.50\n' for i in spare_products))
    _ok(door, f"\\copy products (id, sku, name, price) FROM '{file}' WITH (FORMAT csv)\n")
    count = truth(door, "SELECT count(*), min(name) FROM products WHERE sku LIKE 'COPIED%'")
    assert count == [(len(spare_products), 'Thing, "9001"')]


def test_a_failing_copy_in_leaves_the_session_usable(door: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("9001,A,B,not-a-number\n")
    done = run_psql(
        door.dsn(),
        f"\\copy products (id, sku, name, price) FROM '{file}' WITH (FORMAT csv)\nSELECT"
        " 'alive';\n",
    )
    assert "22P02" in done.stderr
    assert done.stdout.strip() == "alive"


def test_a_script_goes_on_after_a_refusal(door: Gateway) -> None:
    done = run_psql(
        door.dsn(),
        "BEGIN;\nDROP TABLE orders;\nSELECT 1;\nROLLBACK;\nSELECT count(*) FROM products;\n",
    )
    assert "ERROR:  42501: [SP10" in done.stderr
    assert "DETAIL:" in done.stderr
    assert "25P02" in done.stderr  # the transaction is aborted, as PostgreSQL does
    assert done.stdout.splitlines()[-1] == "120"


def test_several_statements_in_one_string(door: Gateway) -> None:
    done = run_psql(door.dsn(), "", "--command=SELECT 1; SELECT 2; SELECT nonsense; SELECT 3")
    assert done.stdout.split() == ["1", "2"]
    assert "42703" in done.stderr or "[SP1106]" in done.stderr


def test_psql_variables_and_gset(door: Gateway) -> None:
    assert (
        _ok(
            door,
            "SELECT id AS wanted FROM products WHERE sku = 'SKU-00007' \\gset\nSELECT :wanted +"
            " 1;\n",
        )
        == "8\n"
    )


def test_bind(door: Gateway) -> None:
    """Extended protocol from psql itself, since 16; an older one says that it does not know it."""
    done = run_psql(door.dsn(), "SELECT name FROM customers WHERE id = $1 \\bind 3 \\g\n")
    if "invalid command \\bind" not in done.stderr:
        assert done.stdout == "Grace Chen\n"


def test_masks_depend_on_who_asks(door: Gateway) -> None:
    """The same statement, the same user name, other tokens: except for nobody else, and no rule at
    all.
    """
    sql = "SELECT email, left(ssn, 7) FROM customers WHERE id = 1;"
    seen = run_psql(door.dsn(door.token(PRIVACY)), sql).stdout
    assert seen == "mei.silva1@example.net|*******\n"
    refused = run_psql(door.dsn(door.token(DBA)), sql)
    assert "[SP1603]" in refused.stderr  # no rule concerns this group: there is nothing here for it
    assert refused.stdout == ""


@pytest.mark.parametrize("password", ["", "wrong", "e30.e30.e30"])
def test_a_bad_token_is_a_password_error(door: Gateway, password: str) -> None:
    done = run_psql(door.dsn(password or "x"), "SELECT 1;")
    assert done.returncode == 2
    assert "SP1601" in done.stderr


def test_an_unknown_target(door: Gateway) -> None:
    done = run_psql(door.dsn(target="nothing"), "SELECT 1;")
    assert done.returncode == 2
    assert "SP1603" in done.stderr
