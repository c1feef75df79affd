"""``sallyport policy coverage``: which columns of a target are masked, which are clear, and which
of these look personal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.audit.display import inert

if TYPE_CHECKING:
    from sallyport.judge import Judge
    from sallyport.policy.coverage import ColumnCoverage

_HELP = """List every column of a target: masked, clear, or clear though its name looks personal.

Example:

    sallyport policy coverage --target shop --strict

Views are not listed: they show what their tables' columns show. A column that was looked at and may
stay clear gets the tag 'clear' in the policy: tags: {clear: ["public.products.notes"]}. With
--strict the exit status is 1 when a column is clear and looks personal.
"""


def add(commands: typer.Typer, judge_of: Callable[[Path, str], Judge]) -> None:
    """Add ``coverage`` to ``policy``. ``judge_of``: the judge of a configuration's target; raises
    ConfigError.
    """

    @commands.command("coverage", help=_HELP)
    def coverage(
        target: Annotated[str, typer.Option(help="A target of the configuration.")] = "",
        strict: Annotated[
            bool,
            typer.Option(
                "--strict", help="Exit status 1 when a column is clear and looks personal."
            ),
        ] = False,
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The gateway's configuration.")
        ] = Path("sallyport.yaml"),
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        from sallyport.policy.coverage import Coverage, column_data

        judge = judge_of(config, target)
        columns = judge.coverage()
        if as_json:
            data = {
                "target": judge.target,
                "policy_version": judge.policy.version,
                "columns": [column_data(column) for column in columns],
            }
            typer.echo(json.dumps(data, indent=2))
        else:
            _show(columns, judge.target)
        if strict and any(column.state is Coverage.LOOKS_PERSONAL for column in columns):
            raise typer.Exit(1)


def _show(columns: Sequence[ColumnCoverage], target: str) -> None:
    from sallyport.policy.coverage import Coverage

    width = max((len(inert(column.column)) for column in columns), default=0)
    for column in columns:
        state = column.state.value
        if column.state is Coverage.MASKED:
            state = f"masked: {'; '.join(column.masks)}"
        elif column.state is Coverage.LOOKS_PERSONAL:
            state = f"clear and looks personal ({column.looks_like})"
        typer.echo(f"{inert(column.column):{width}}  {inert(state)}")
    counts = Counter(column.state for column in columns)
    told = ", ".join(f"{counts[state]} {state.value}" for state in Coverage)
    typer.echo(f"{len(columns)} columns of target {inert(target)}: {told}")
    if counts[Coverage.LOOKS_PERSONAL]:
        typer.echo("Mask what is personal; give the rest the tag 'clear' (see --help).")
