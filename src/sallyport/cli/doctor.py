"""``sallyport doctor``: looks at configuration, issuers, targets, reviewers and the data directory,
and says what to do.

Exit status: 0 when nothing keeps the gateway from working safely (warnings may remain), 1 when
something does, 2 when configuration or policy cannot be read.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import sallyport
from sallyport.audit.display import inert

if TYPE_CHECKING:
    from sallyport.operations.doctor import Finding

_DOCTOR = """Check what the gateway needs: configuration, issuers, targets, reviewers, data
directory. Nothing is changed.

Example:

    sallyport doctor --config sallyport.yaml

With --from-agent, run it where an agent runs: it tries to reach the databases without the gateway,
and says how to close that way. It needs no configuration there:

    sallyport doctor --from-agent --database postgresql://sallyport_agent@db.internal:5432/shop
"""
_MARKS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


def register(app: typer.Typer) -> None:
    """Add ``doctor`` to the program."""

    @app.command("doctor", help=_DOCTOR)
    def doctor(
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The gateway's configuration.")
        ] = Path("sallyport.yaml"),
        target: Annotated[str, typer.Option(help="Only this target. [all]")] = "",
        from_agent: Annotated[
            bool,
            typer.Option("--from-agent", help="Try to reach the databases past the gateway."),
        ] = False,
        database: Annotated[
            list[str] | None,
            typer.Option(
                help="With --from-agent, in place of a configuration: the address of a database."
                " Repeatable."
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        import structlog

        from sallyport.core.errors import ConfigError

        # what the parts log about their failures is what the findings say
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        if database and not from_agent:
            raise ConfigError("--database is for --from-agent: add it")
        if database:
            from sallyport.app.doctor import ways_round

            _show(ways_round(database), as_json)
        else:
            _doctor(config, target, from_agent, as_json)


def _doctor(config_path: Path, target: str, from_agent: bool, as_json: bool) -> None:
    from sallyport.app.doctor import examine
    from sallyport.config import load_config
    from sallyport.core.errors import ConfigError

    config = load_config(config_path)
    if target and target not in config.targets:
        raise ConfigError(
            f"there is no target {target!r}. Use --target with one of {', '.join(config.targets)}"
        )
    findings = examine(config, target, from_agent=from_agent)
    about = f"configuration {config_path}"
    said = f"read (sallyport {sallyport.__version__}, Python {platform.python_version()})"
    _show(findings, as_json, f"ok       {about}: {said}")


def _show(findings: list[Finding], as_json: bool, title: str = "") -> None:
    if as_json:
        versions = {"sallyport": sallyport.__version__, "python": platform.python_version()}
        shown = {"versions": versions, "findings": [asdict(f) for f in findings]}
        typer.echo(json.dumps(shown, indent=2))
    else:
        if title:
            typer.echo(title)
        for finding in findings:
            # as it is: it may begin with a command, a key or a file
            todo = f"; {finding.do}" if finding.do else ""
            typer.echo(inert(f"{_MARKS[finding.state]}  {finding.about}: {finding.said}{todo}"))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
