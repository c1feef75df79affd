"""``sallyport policy explain | test``: what would the policy say to this statement, and why; does
it keep its promises. (``check``: :mod:`sallyport.cli.policycheck`; ``history``:
:mod:`sallyport.cli.policyhistory`; ``coverage``: :mod:`sallyport.cli.policycoverage`; ``publish``,
``gateways``: :mod:`sallyport.cli.policyrollout`.)

``explain`` and ``test`` need the target's catalog, because patterns are matched against real names.
It is read over the gateway's own connection (:mod:`sallyport.app.target_catalogs`);
:func:`register` takes another source for tests. Exit status: 0; 1 when an expectation fails; 2 when
the policy or the configuration is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sallyport.audit.display import inert
from sallyport.cli import policycheck, policycoverage, policyhistory, policyrollout
from sallyport.cli.policycheck import CatalogSource
from sallyport.core.errors import ConfigError

if TYPE_CHECKING:
    from sallyport.config import Config
    from sallyport.core.subject import Subject
    from sallyport.core.yamltext import Document
    from sallyport.judge import Judge
    from sallyport.policy.explain import Explanation
    from sallyport.sql.catalog.snapshot import CatalogSnapshot

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The gateway's configuration.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_EXPLAIN = """Show what the policy decides about this SQL for a subject, and why, rule by rule.
Nothing is executed.

Example:

    sallyport policy explain --as claude-postgres --target shop "SELECT email FROM customers"

SUBJECT is a list of groups (a,b), not the name of a person, or JSON:
{"id": "...", "groups": ["a"], "agent": "...", "claims": {...}}.

'needs' is what the statement does, which rules must allow; 'sent' is the text that the database
would get, when masks are put into it; '*' marks the rules that concern this subject and statement.
"""
_TEST = """Run a file of expectations against the policy. Exit status 1 when one fails.

Example:

    sallyport policy test expectations.yaml

A file has 'tests:', a list of {subject, target, sql, verdict: allow|hold|deny}; name, code, rule
and masks are optional.
"""


def live_catalog(config: Config, target: str) -> CatalogSnapshot:
    """The catalog as the gateway would see it now. SallyportError when the target cannot be
    reached.
    """
    from sallyport.app.target_catalogs import load_target_catalog
    from sallyport.cli.quiet import log_to_stderr

    log_to_stderr()
    return load_target_catalog(config, target)


def register(app: typer.Typer, catalog_source: CatalogSource = live_catalog) -> None:
    """Add ``policy`` to the program."""
    commands = typer.Typer(
        help="Check, explain and test the policy.", no_args_is_help=True, rich_markup_mode=None
    )

    policycheck.add(commands, catalog_source)

    @commands.command("explain", help=_EXPLAIN)
    def explain(
        sql: Annotated[str, typer.Argument(help="The statement, or several.")],
        subject: Annotated[
            str,
            typer.Option(
                "--as",
                metavar="SUBJECT",
                help="Who asks: groups (a,b) as in the rules' 'subjects', or a subject as JSON.",
            ),
        ],
        target: Annotated[str, typer.Option(help="A target of the configuration.")] = "",
        config: ConfigOption = Path("sallyport.yaml"),
        contained: Annotated[
            bool, typer.Option("--contained", help="After they have read an untrusted column.")
        ] = False,
        as_json: AsJson = False,
    ) -> None:
        _Explaining(config, catalog_source).show(sql, subject, target, as_json, contained)

    @commands.command("test", help=_TEST)
    def test(
        file: Annotated[Path, typer.Argument(help="The file of expectations.")],
        config: ConfigOption = Path("sallyport.yaml"),
    ) -> None:
        _Explaining(config, catalog_source).test(file)

    policyhistory.add(commands)
    policyrollout.add(commands)
    policycoverage.add(
        commands, lambda config, target: _Explaining(config, catalog_source).judge(target)
    )
    app.add_typer(commands, name="policy")


class _Explaining:
    """A judge as the gateway has one, for each target that is asked about."""

    def __init__(self, config_path: Path, source: CatalogSource) -> None:
        from sallyport.config import load_config
        from sallyport.policy.file.load import load_policy

        self.config = load_config(config_path)
        self.policy = load_policy(self.config.policy_path)
        self.source = source
        self._judges: dict[str, Judge] = {}

    def judge(self, target: str) -> Judge:
        from sallyport.judge import Judge
        from sallyport.policy.for_target import at_target

        if not target and len(self.config.targets) == 1:
            target = next(iter(self.config.targets))
        if target not in self.config.targets:
            raise ConfigError(
                f"there is no target {target!r}. Use --target with one of"
                f" {', '.join(self.config.targets)}"
            )
        if target not in self._judges:
            catalog = self.source(self.config, target)
            limit = self.config.limits.max_statement_bytes
            policy = at_target(self.policy, target, self.config.targets[target].credential)
            self._judges[target] = Judge(target, policy, catalog, {}, max_statement_bytes=limit)
        return self._judges[target]

    def explanations(
        self, sql: str, subject: Subject, target: str, contained: bool = False
    ) -> list[Explanation]:
        """One for each statement of the text, up to the first that is refused: what follows would
        not be reached.

        By the judge, as for a simple query. ``contained``: after they read an untrusted column.
        RefusedError when the text cannot be read at all.
        """
        from sallyport.operations.explaining import containing, explanations

        judge = self.judge(target)
        with containing(judge, subject) if contained else nullcontext():
            return explanations(judge, subject, sql)

    def show(self, sql: str, subject: str, target: str, as_json: bool, contained: bool) -> None:
        who = parse_subject(subject)
        if not sql.strip():
            raise ConfigError("the statement is empty. Write the SQL to explain, in quotes")
        explained = self.explanations(sql, who, target, contained)
        if as_json:
            from sallyport.operations.explaining import explanation_data

            typer.echo(json.dumps([explanation_data(e) for e in explained], indent=2))
            return
        for warning in self.judge(target).warnings:
            typer.echo(f"warning: {inert(warning)}", err=True)
        for explanation in explained:
            if len(explained) > 1:
                typer.echo(inert(explanation.sql, newlines=True))
            typer.echo("\n".join(inert(line) for line in _lines(explanation)))

    def test(self, file: Path) -> None:
        from sallyport.core.yamltext import read_yaml

        document = read_yaml(file)
        tests = document.data.get("tests")
        if not isinstance(tests, list) or not tests:
            raise document.error(
                ("tests",), "a list of tests is expected", "docs/policy.md shows one"
            )
        failed = 0
        for i in range(len(tests)):
            name, problem = self._one_test(document, i)
            failed += bool(problem)
            line = f"{'FAIL' if problem else 'ok  '} {name}" + (
                f"\n     {problem}" if problem else ""
            )
            typer.echo(inert(line, newlines=True))
        typer.echo(
            f"{len(tests) - failed} of {len(tests)} as expected (policy version"
            f" {self.policy.version})"
        )
        if failed:
            raise typer.Exit(1)

    def _one_test(self, document: Document, index: int) -> tuple[str, str]:
        from sallyport.core.errors import RefusedError
        from sallyport.policy.expectations import Expectation, differs

        path = ("tests", index)
        expected = document.convert(path, Expectation)
        try:
            who = subject_from(expected.subject)
        except ConfigError as error:
            raise document.error((*path, "subject"), str(error)) from None
        line = document.line(path)
        name = expected.name or f"{document.filename}:{line}: {' '.join(expected.sql.split())[:60]}"
        try:
            explained = self.explanations(expected.sql, who, expected.target, expected.contained)
        except RefusedError as error:
            return name, differs(expected, [], error.refusal)
        return name, differs(expected, explained, None)


def parse_subject(text: str) -> Subject:
    """``a,b`` (groups) or a JSON object, as a Subject. ConfigError when it is neither."""
    if not text.lstrip().startswith("{"):
        return subject_from([group.strip() for group in text.split(",") if group.strip()])
    try:
        return subject_from(json.loads(text))
    except ValueError as error:
        raise ConfigError(f"--as: not valid JSON: {error}") from None


def subject_from(description: Any) -> Subject:
    """A Subject from a list of groups, or a mapping with id, issuer, groups, agent, claims."""
    from sallyport.core.subject import Subject

    if isinstance(description, str):
        description = [description]
    if isinstance(description, list):
        description = {"groups": description}
    if not isinstance(description, dict):
        raise ConfigError(
            "a subject is a list of groups or an object with id, issuer, groups, agent, actors and"
            " claims"
        )
    unknown = sorted(description.keys() - {"id", "issuer", "groups", "agent", "actors", "claims"})
    if unknown:
        raise ConfigError(
            f"a subject has no {unknown[0]!r}; it has id, issuer, groups, agent, actors and claims"
        )
    groups, claims, actors = (
        description.get("groups", []),
        description.get("claims", {}),
        description.get("actors", []),
    )
    texts = [description.get(key, "") for key in ("id", "issuer", "agent")]
    if (
        not isinstance(groups, list)
        or not isinstance(claims, dict)
        or not isinstance(actors, list)
        or not all(isinstance(t, str) for t in [*groups, *actors, *texts])
    ):
        raise ConfigError(
            "a subject's groups and actors are lists of texts, its claims an object, its id, issuer"
            " and agent texts"
        )
    return Subject(
        texts[0] or "someone",
        texts[1],
        frozenset(groups),
        texts[2] or next(iter(actors), ""),
        claims=claims,
        actors=tuple(actors),
    )


#: :attr:`~sallyport.policy.explain.ColumnExplanation.dependence` in words.
_DEPENDENCE = {
    "identity": "unchanged copy of",
    "derived": "computed from",
    "opaque": "may depend in any way on",
    "": "from",
}


def _lines(explanation: Explanation) -> Iterator[str]:
    refusal = explanation.refusal
    by = f" by rule {explanation.rule!r}" if explanation.rule else ""
    if explanation.by_gateway and refusal is not None:
        by = f" by the gateway: {refusal.text}"
    yield explanation.outcome.value.upper() + by
    if refusal is not None:
        if not explanation.by_gateway:
            yield f"  {refusal.text}"
        for label, text in (("DETAIL", refusal.detail), ("HINT", refusal.hint)):
            if text:
                yield f"  {label}: {text}"
    yield f"  needs: {', '.join(explanation.needs) or 'nothing'}"
    for column in explanation.columns:
        how = _DEPENDENCE[column.dependence]
        sources = f"; {how} {', '.join(column.sources)}" if column.sources else ""
        yield f"  column {column.name}: {column.mask or 'as it is'} ({column.why}){sources}"
    if explanation.sent:
        yield f"  sent: {explanation.sent}"
    for rule in explanation.rules:
        yield f"  {'*' if rule.matched else ' '} {rule.effect:5} {rule.rule}: {rule.why}"
    yield f"  policy version {explanation.policy_version}"
