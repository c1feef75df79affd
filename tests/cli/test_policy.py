"""``sallyport policy check | explain | test``, with the demo's policy and the catalog of a real
PostgreSQL.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import sallyport.demo
from sallyport.audit.ports import SessionRow
from sallyport.cli import policy as policy_commands
from sallyport.cli.main import build, main
from sallyport.core.errors import ConfigError
from sallyport.demo.issuer import DevIssuer
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from sallyport.store.database import open_database
from sallyport.store.sessions import SqlSessionIndex
from sallyport.store.writer import Writer
from tests.support.forked import run as run_command
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.targets.query import catalog_of

DEMO_POLICY = (Path(sallyport.demo.__file__).parent / "policy.yaml").read_text()
EXPECTATIONS = Path(__file__).parents[1] / "policy" / "shop.expectations.yaml"

CONFIG = """identity: {oidc: [{issuer: https://idp.example.com, audience: sallyport}]}
targets:
  shop: {host: 127.0.0.1, database: shop, user: agent, tls: disable}
policy: policy.yaml
"""
CONSOLE = "console: {roles: {reviewer: [dba]}}\n"

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> CatalogSnapshot:
    return catalog_of(postgres.superuser_dsn)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sallyport.yaml").write_text(CONFIG + CONSOLE)
    (tmp_path / "policy.yaml").write_text(DEMO_POLICY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(home: Path, catalog: CatalogSnapshot) -> Run:
    app = typer.Typer()
    policy_commands.register(app, lambda config, target: catalog)
    return lambda *arguments: CliRunner().invoke(app, ["policy", *arguments])


def test_check_takes_policy_and_configuration_together(run: Run) -> None:
    result = run("check")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("OK: version ")


def test_check_of_one_file_needs_no_configuration(run: Run, home: Path) -> None:
    (home / "sallyport.yaml").unlink()
    assert run("check", "policy.yaml").exit_code == 0


def test_check_compares_patterns_with_the_targets(run: Run, home: Path) -> None:
    rule = "{name: r, targets: [shop], allow: [read], relations: ['public.order', 'public.orders']}"
    (home / "policy.yaml").write_text(f"version: 1\nrules: [{rule}]\n")
    said = 'warning: rule "r" (line 2): public.order matches nothing in target shop'
    result = run("check")
    assert result.exit_code == 0
    assert said in result.output.splitlines()
    assert "1 rule, 0 masks" in result.output
    assert said in run("check", "policy.yaml", "--config", "sallyport.yaml").output
    assert "not compared" not in result.output
    for offline in (run("check", "--offline"), run("check", "policy.yaml")):
        assert "warning" not in offline.output
        assert "not compared with a database: " in offline.output


def test_check_counts_what_packs_bring_apart(run: Run, home: Path) -> None:
    mask = "{columns: ['public.customers.ssn'], with: redact, filter: deny}"
    policy = f"version: 1\npacks: [no-ddl, pii-default]\nmasks: [{mask}]\n"
    (home / "policy.yaml").write_text(policy)
    output = run("check").output
    counted = r"OK: version \w+, 0 rules, 1 mask of its own; 1 rule, 1 mask of the packs "
    assert re.search(counted + "no-ddl and pii-default: ", output), output


def test_strict_makes_warnings_errors_and_json_lists_them(run: Run, home: Path) -> None:
    (home / "sallyport.yaml").write_text(CONFIG)
    (home / "policy.yaml").write_text("""version: 1
rules:
  - {name: held, targets: [shop], hold: [update], relations: ['public.orders'], reviewers: {groups: [dba]}}
  - {name: unheard, targets: [shop], hold: [delete], relations: ['public.orders']}
masks:
  - {columns: ['public.customers.emial'], with: redact, filter: masked}
  - {columns: ['public.customers.id', 'public.customers.ssn'], with: email, filter: masked}
  - {columns: ['public.customers.name'], with: {bucket: {size: 10}}, filter: masked}
""")
    expected = [
        (
            'rule "held" (line 3): nobody can decide what it holds, as the configuration has no'
            " 'console', where reviewers and commands decide"
        ),
        (
            'rule "unheard" (line 4): nobody can decide what it holds, as it names no reviewers. '
            "Add 'reviewers: {groups: [...]}'"
        ),
        (
            "mask (line 6): public.customers.emial matches nothing in target shop. "
            "Did you mean 'public.customers.email'?"
        ),
        "mask (line 7): email is for texts and shows public.customers.id, which is int4, as NULL",
        (
            "mask (line 8): bucket is for numbers and shows public.customers.name, which is text,"
            " as NULL"
        ),
    ]
    plain, strict = run("check"), run("check", "--strict", "--json")
    assert plain.exit_code == 0
    assert plain.output.splitlines()[:-1] == [f"warning: {line}" for line in expected]
    assert strict.exit_code == 1
    data = json.loads(strict.output)
    assert (data["ok"], data["warnings"], data["not_compared"]) == (False, expected, [])


def test_strict_takes_a_policy_without_warnings(run: Run) -> None:
    with_json = run("check", "--strict", "--json")
    assert with_json.exit_code == 0, with_json.output
    assert json.loads(with_json.output)["ok"] is True


def test_check_knows_groups_that_no_token_carried(run: Run, home: Path) -> None:
    data = home / "sallyport-data"
    (home / "sallyport.yaml").write_text(CONFIG + f"data: {data}\n")
    (home / "policy.yaml").write_text(
        "version: 1\nrules: [{name: r, allow: [read], subjects: {groups: [agents, agnets]}}]\n"
    )
    assert "agnets" not in run("check").output  # nobody has connected yet
    row = SessionRow(
        id="s1", subject="a", issuer="i", groups=("agents",), agent="", label="", target="shop",
        client="", application="", started=1.0, file="s1",
    )  # fmt: skip
    engine = open_database(data)
    writer = Writer(engine)
    SqlSessionIndex(engine, writer).save(row)
    writer.close()
    engine.dispose()
    output = run("check").output
    assert "warning: group 'agnets': no recorded session's token carried it so far" in output
    with (home / "sallyport.yaml").open("a") as config:
        config.write("console: {roles: {viewer: [agnets]}}\n")
    assert "agnets" not in run("check").output  # they sign in to the console
    assert "'agents'" not in output


def test_a_target_that_cannot_be_read_fails_strict(home: Path) -> None:
    app = typer.Typer()

    def source(config: object, target: str) -> CatalogSnapshot:
        raise ConfigError("its password is not there")

    policy_commands.register(app, source)
    result = CliRunner().invoke(app, ["policy", "check", "--strict", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["not_compared"] == ["target shop: its password is not there"]
    assert CliRunner().invoke(app, ["policy", "check", "--strict", "--offline"]).exit_code == 0


def test_why_a_target_cannot_be_reached(
    home: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {
        "host": postgres.host,
        "port": postgres.port,
        "database": "shop",
        "user": postgres.user,
    }
    target |= {"tls": "disable", "password": {"env": "SHOP_PASSWORD"}}
    configuration = {"identity": {"oidc": [{"issuer": "https://idp.example.com", "audience": "s"}]}}
    place = home / "sallyport.yaml"
    place.write_text(
        json.dumps(configuration | {"targets": {"shop": target}, "policy": "policy.yaml"})
    )
    app = typer.Typer()
    policy_commands.register(app)

    def said() -> str:
        return CliRunner().invoke(app, ["policy", "check"]).output.splitlines()[-1]

    monkeypatch.delenv("SHOP_PASSWORD", raising=False)
    assert "the environment variable is not set. Set it where sallyport is started" in said()
    monkeypatch.setenv("SHOP_PASSWORD", "wrong")
    assert f'the database refused the login as "{postgres.user}": ' in said()
    assert "password authentication failed" in said()
    changed = {"shop": target | {"port": 1}}
    place.write_text(json.dumps(configuration | {"targets": changed, "policy": "policy.yaml"}))
    assert f"no database answers at {postgres.host}:1: " in said()


def test_check_without_the_target_says_so(home: Path) -> None:
    app = typer.Typer()

    def source(config: object, target: str) -> CatalogSnapshot:
        raise ConfigError("its password is not there")

    policy_commands.register(app, source)
    result = CliRunner().invoke(app, ["policy", "check"])
    assert result.exit_code == 0
    assert "not compared with a database: target shop: its password is not there" in result.output


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("nope.yaml", "nope.yaml: there is no such file. Name a policy file"),
        (".", "is a directory"),
        (
            "sallyport.yaml",
            "this is a gateway's configuration, not a policy. Check it together with its",
        ),
    ],
)
def test_check_of_something_else(run: Run, file: str, what: str) -> None:
    result = run("check", file)
    assert isinstance(result.exception, ConfigError)
    assert what in str(result.exception)


def test_check_warns(run: Run, home: Path) -> None:
    (home / "policy.yaml").write_text(
        "version: 1\ntags: {a: ['a.b.c']}\nrules: [{name: r, targets: [shoop], deny: [ddl]}]\n"
    )
    output = run("check").output
    assert "warning: " in output
    assert "policy.yaml:2:8: no rule or mask uses the tag 'a'" in output
    assert "'shoop': no such target. Did you mean 'shop'? Targets are shop" in output


def test_the_demo_says_what_each_of_its_masks_means(run: Run) -> None:
    assert "warning" not in run("check").output


def test_check_finds_a_hash_mask_without_key(run: Run, home: Path) -> None:
    text = "version: 1\nmasks: [{columns: ['a.b.c'], with: hash}]\n"
    (home / "policy.yaml").write_text(text)
    result = run("check")
    assert isinstance(result.exception, ConfigError)
    assert "mask_keys: {default: {file: ...}}" in str(result.exception)
    (home / "sallyport.yaml").write_text(CONFIG + "mask_keys: {default: {env: K}}\n")
    assert run("check").exit_code == 0


def test_an_error_is_one_line_with_its_place_and_no_traceback(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "policy.yaml").write_text("version: 1\nrules:\n  - name: r\n    alow: [read]\n")
    with pytest.raises(SystemExit) as caught:
        main(["policy", "check"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(
        f"sallyport: {home / 'policy.yaml'}:4:5: rules[0].alow: unknown key. Did you mean 'allow'?"
    )


def test_coverage_lists_every_column(run: Run, home: Path) -> None:
    (home / "policy.yaml").write_text("version: 1\npacks: [pii-default]\n")
    result = run("coverage", "--target", "shop")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert lines["public.customers.name"].endswith("  masked: redact")
    assert lines["public.products.name"].endswith("  clear")
    assert lines["public.customers.notes"].endswith("  clear and looks personal (pii.free_text)")
    assert not any("orders_2025" in line for line in lines)
    assert re.search(
        r"^\d+ columns of target shop: \d+ masked, \d+ clear, 1 clear and looks personal$",
        result.output,
        re.M,
    )
    assert run("coverage", "--strict").exit_code == 1
    (home / "policy.yaml").write_text(
        "version: 1\npacks: [pii-default]\ntags: {clear: ['public.customers.notes']}\n"
    )
    assert run("coverage", "--strict").exit_code == 0


def test_coverage_as_json(run: Run) -> None:
    data = json.loads(run("coverage", "--json").output)
    assert data["target"] == "shop"
    states = {column["column"]: column["state"] for column in data["columns"]}
    assert states["public.customers.email"] == "masked"
    assert states["public.orders.status"] == "clear"


def test_the_golden_expectations(run: Run) -> None:
    result = run("test", str(EXPECTATIONS))
    failures = [line for line in result.output.splitlines() if not line.startswith("ok ")]
    assert result.exit_code == 0, "\n".join(failures)


def test_expectations_can_fail_and_say_how(run: Run, home: Path) -> None:
    (home / "e.yaml").write_text("""tests:
  - {name: one, subject: claude-postgres, sql: "DELETE FROM products WHERE id = 1", verdict: allow}
  - {name: two, subject: claude-postgres, sql: "SELECT email FROM customers", verdict: allow, masks: {email: redact}}
  - {name: three, subject: claude-postgres, sql: "SELECT 1 AS x", verdict: allow, masks: {y: ""}}
  - {name: four, subject: claude-postgres, sql: "DELETE FROM products WHERE id = 1", verdict: deny, code: SP1002}
  - {name: five, subject: claude-postgres, sql: "SELECT 1", verdict: allow, rule: another}
  - {name: six, subject: claude-postgres, sql: "SELECT 1", verdict: allow}
""")
    result = run("test", "e.yaml")
    assert result.exit_code == 1
    assert "FAIL one\n     expected allow, got deny ([SP1001]" in result.output
    assert "expected column 'email' with mask redact, got email" in result.output
    assert "there is no result column 'y'; there are x" in result.output
    assert "expected code SP1002, got SP1001" in result.output
    assert "expected rule 'another', got 'agents read the shop'" in result.output
    assert "ok   six" in result.output
    assert "1 of 6 as expected" in result.output


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("tests: []\n", "e.yaml:1:1: tests: a list of tests is expected"),
        (
            "tests:\n  - {subject: a, sql: x, verdict: maybe}\n",
            "e.yaml:2:26: tests[0].verdict: 'maybe' is not known. Known values: allow, deny, hold",
        ),
        ("tests:\n  - {subject: a, sql: x, verdit: deny}\n", "Did you mean 'verdict'?"),
        (
            "tests:\n  - {subject: {grops: [a]}, sql: x, verdict: deny}\n",
            "e.yaml:2:6: tests[0].subject: a subject has no 'grops'",
        ),
    ],
)
def test_expectations_that_are_wrong(run: Run, home: Path, text: str, what: str) -> None:
    (home / "e.yaml").write_text(text)
    result = run("test", "e.yaml")
    assert isinstance(result.exception, ConfigError)
    assert what in str(result.exception)


def test_explain_says_what_why_and_rule_by_rule(run: Run) -> None:
    result = run("explain", "--as", "claude-postgres", "SELECT id, email, ssn FROM customers")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "ALLOW by rule 'agents read the shop'"
    assert "  needs: select on public.customers" in lines
    assert (
        "  column id: as it is (no masked column goes into it); unchanged copy of"
        " public.customers.id" in lines
    )
    assert any(
        line.startswith("  column email: email (mask of public.customers.email") for line in lines
    )
    assert any(
        line.startswith("  column ssn: partial(keep_last 4) (mask of public.customers.ssn")
        for line in lines
    )
    assert not any(line.startswith("  sent") for line in lines), "the masks are applied to the rows"
    assert "  * allow agents read the shop: concerns select on public.customers" in lines
    assert re.fullmatch(r"  policy version \w{16}", lines[-1])
    assert any(
        "people with a reason" in line and "none of the groups dba, privacy" in line
        for line in lines
    )


def test_explain_of_what_is_computed_from_masks(run: Run) -> None:
    sql = "SELECT split_part(email, '@', 2) AS host, count(*) FROM customers GROUP BY 1"
    lines = run("explain", "--as", "claude-postgres", sql).output.splitlines()
    assert lines[0] == "ALLOW by rule 'agents read the shop'"
    assert (
        "  column host: email (computed from the masked values of public.customers.email); computed"
        " from public.customers.email" in lines
    )
    (sent,) = [
        line
        for line in lines
        if line.startswith("  sent: SELECT split_part(email, '@', 2) AS host")
    ]
    assert "UNION ALL" in sent
    assert " FROM customers " not in sent
    (said,) = json.loads(run("explain", "--as", "claude-postgres", "--json", sql).output)
    assert "  sent: " + said["sent"] == sent


def test_explain_is_what_the_wire_does(run: Run) -> None:
    """What only the judge of a whole script says: names after a changed search_path; what comes
    after a refusal.
    """
    said = run(
        "explain", "--as", "claude-postgres", "--json", "RESET search_path; SELECT 1; SELECT 2"
    ).output
    first, second = json.loads(said)
    assert (first["outcome"], second["outcome"]) == ("allow", "deny")
    assert second["refusal"]["code"] == "SP1102"
    assert "known only when those before it have run" in second["refusal"]["message"]
    assert second["sql"] == "SELECT 1"


def test_explain_of_what_is_prepared_or_declared(run: Run) -> None:
    for sql in (
        "PREPARE p AS SELECT email FROM customers",
        "DECLARE c CURSOR FOR SELECT email FROM customers",
    ):
        said = json.loads(run("explain", "--as", "claude-postgres", "--json", sql).output)
        assert [(c["mask"], c["dependence"]) for c in said[0]["columns"]] == [("email", "identity")]


def test_explain_through_a_view(run: Run) -> None:
    said = run(
        "explain",
        "--as",
        "claude-postgres",
        "--json",
        "SELECT email, upper(email) FROM customer_orders",
    )
    first, second = json.loads(said.output)[0]["columns"]
    assert (
        first["sources"]
        == second["sources"]
        == ["public.customer_orders.email", "public.customers.email"]
    )
    assert (first["mask"], second["mask"]) == ("email", "email")


def test_explain_of_a_refusal(run: Run) -> None:
    output = run(
        "explain", "--as", "claude-postgres", "--target", "shop", "DELETE FROM orders"
    ).output
    assert output.startswith(
        "DENY by rule 'no-unbounded-write: UPDATE and DELETE need WHERE'\n  [SP1002] "
    )
    assert "  DETAIL: Rule " in output
    assert "HINT" not in output, "what rules allow is no way round a denial"


def test_explain_of_what_the_gateway_itself_refuses(run: Run) -> None:
    words = ["explain", "--as", "claude-postgres"]
    sql = "SELECT id FROM customers WHERE ssn = 'x'"
    output = run(*words, sql).output
    assert output.startswith("DENY by the gateway: [SP1201] masked column public.customers.ssn ")
    assert re.search(r"policy\.yaml line \d+: pii\.national_id", output)
    (said,) = json.loads(run(*words, "--json", sql).output)
    assert (said["rule"], said["by_gateway"]) == ("", True)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMP TABLE t AS SELECT id FROM customers",
        "CREATE TEMPORARY TABLE t (a int) ON COMMIT DROP",
        "CREATE TABLE pg_temp.t (a int)",
        "SELECT id INTO TEMP t FROM customers",
        "CREATE TEMP VIEW t AS SELECT 1",
        "CREATE TEMP SEQUENCE t",
        "EXPLAIN CREATE TEMP TABLE t AS SELECT 1",
    ],
)
@pytest.mark.parametrize("packs", ["read-only, no-ddl", "pii-default"])
def test_temporary_tables_are_an_action_of_their_own(
    run: Run, home: Path, sql: str, packs: str
) -> None:
    """No group holds it, and the pack read-only denies it."""
    rule = "{name: r, allow: [read, ddl], relations: ['*.*']}"
    (home / "policy.yaml").write_text(f"version: 1\npacks: [{packs}]\nrules: [{rule}]\n")
    output = run("explain", "--as", "a", sql).output
    if "read-only" in packs:
        assert output.startswith("DENY by rule 'read-only: no temporary tables'"), output
    else:
        assert output.startswith("DENY\n  [SP1001] temp is not allowed"), output
    assert "public.t" not in output


def test_explain_as_json_with_a_whole_subject(run: Run) -> None:
    who = json.dumps({"id": "ann", "groups": ["privacy"], "claims": {"team": "x"}})
    result = run(
        "explain",
        "--as",
        who,
        "--json",
        "SELECT email FROM customers; DELETE FROM orders WHERE id = 1",
    )
    first, second = json.loads(result.output)
    assert (first["outcome"], first["columns"][0]["mask"]) == ("allow", None)
    assert second["refusal"]["code"] == "SP1001"
    assert second["refusal"]["sqlstate"] == "42501"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            ["--as", "a", "--target", "nope", "SELECT 1"],
            "there is no target 'nope'. Use --target with one of shop",
        ),
        (["--as", "a", " "], "the statement is empty"),
        (["--as", "{", "SELECT 1"], "--as: not valid JSON"),
        (["--as", '{"groups": "a"}', "SELECT 1"], "groups and actors are lists of texts"),
        (["--as", '{"label": "root"}', "SELECT 1"], "a subject has no 'label'"),
    ],
)
def test_explain_with_wrong_arguments(run: Run, arguments: list[str], what: str) -> None:
    result = run("explain", *arguments)
    assert isinstance(result.exception, ConfigError)
    assert what in str(result.exception)


def test_explain_of_text_that_cannot_be_parsed(run: Run) -> None:
    result = run("explain", "--as", "claude-postgres", "SELECT FROM WHERE")
    assert "[SP1101]" in str(result.exception)


@pytest.mark.parametrize("command", ["check", "explain", "test", "history"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(build(), ["policy", command, "--help"])
    assert result.exit_code == 0
    assert f"sallyport policy {command}" in result.output


def test_explain_reads_the_catalog_of_the_configured_target(
    issuer: DevIssuer, postgres: Server
) -> None:
    gateway = Gateway(issuer, {"shop": postgres})
    gateway.write()
    words = ["policy", "explain", "--as", "claude-postgres", "SELECT email FROM customers"]
    done = gateway.run(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ALLOW by rule 'agents read the shop'")
    assert "column email: email" in done.stdout
    without_password = {k: v for k, v in os.environ.items() if k not in gateway.environment}
    failed = run_command(gateway.command(*words), {}, without_password)
    assert (failed.returncode, failed.stdout) == (2, "")
    logged, *_, said = failed.stderr.splitlines()
    assert said.startswith("sallyport: ")
    assert re.match(r"20\d\d-\d\d-\d\dT[\d:.]+Z \[error", logged), "the time is in UTC"
    assert "Traceback" not in failed.stderr


def test_a_target_with_ephemeral_roles_denies_schema_changes(run: Run, home: Path) -> None:
    rule = "{name: all, allow: [read, ddl], relations: ['*.*']}"
    ddl = "{name: migrations, allow: [ddl], relations: ['*.*']}"
    (home / "policy.yaml").write_text(f"version: 1\nrules: [{rule}, {ddl}]\n")
    asked = ("explain", "--as", "a", "ALTER TABLE customers ADD COLUMN x int")
    assert run(*asked).output.startswith("ALLOW")
    assert "credential" not in run("check").output
    config = CONFIG.replace(
        "tls: disable", "tls: disable, credential: ephemeral, admin: {user: boss}"
    )
    (home / "sallyport.yaml").write_text(config + CONSOLE)
    output = run(*asked).output
    assert output.startswith("DENY by rule 'ephemeral: no schema changes'"), output
    assert run("explain", "--as", "a", "SELECT id FROM customers").output.startswith("ALLOW")
    said = run("check").output
    assert 'rule "migrations"' in said and "credential: ephemeral" in said
    assert 'rule "all"' not in said
