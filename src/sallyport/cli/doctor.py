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
from typing import Annotated

import typer

import sallyport
from sallyport.audit.display import inert

_DOCTOR = """Check what the gateway needs: configuration, issuers, targets, reviewers, data
directory. Nothing is changed.

Example:

    sallyport doctor --config sallyport.yaml

With --from-agent, run it where an agent runs: it tries to reach the databases without the gateway,
and says how to close that way.
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
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        _doctor(config, target, from_agent, as_json)


def _doctor(config_path: Path, target: str, from_agent: bool, as_json: bool) -> None:
    import structlog

    from sallyport.app.doctor import examine
    from sallyport.config import load_config
    from sallyport.core.errors import ConfigError

    # what the parts log about their failures is what the findings say
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    config = load_config(config_path)
    if target and target not in config.targets:
        raise ConfigError(
            f"there is no target {target!r}. Use --target with one of {', '.join(config.targets)}"
        )
    findings = examine(config, target, from_agent=from_agent)
    versions = {"sallyport": sallyport.__version__, "python": platform.python_version()}
    if as_json:
        typer.echo(
            json.dumps({"versions": versions, "findings": [asdict(f) for f in findings]}, indent=2)
        )
    else:
        typer.echo(
            f"ok       configuration {config_path}: read (sallyport {versions['sallyport']}, Python"
            f" {versions['python']})"
        )
        for finding in findings:
            todo = f". {finding.do[0].upper()}{finding.do[1:]}" if finding.do else ""
            typer.echo(inert(f"{_MARKS[finding.state]}  {finding.about}: {finding.said}{todo}"))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(1)
