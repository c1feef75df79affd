"""``sallyport audit receipt`` and ``check-receipt``: what became of one statement, signed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from sallyport.cli.auditproof import AsJson, Key, read_text, verify_key
from sallyport.cli.recorded import ConfigFile, DataDir, directories, open_sessions, recording_keys
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.audit.keys import KeyRing
    from sallyport.audit.receipts import Receipt

_HELP_RECEIPT = """Write a signed receipt for a statement: verdict, rule, policy version, position.

It does not say the statement, but commits to it. Standard error gets the opening: whoever has it
and the statement can check that they belong together. Run it on the gateway's host.
Example: sallyport audit receipt ses_01m7xtb2 3 -o statement.receipt
"""

_HELP_CHECK = """Check a receipt with the log's public key, and say what it says.

With --opening and --statement (or --recording), also whether it is about that statement. Exit
status 1: it is not.
Example: sallyport audit check-receipt statement.receipt --key sallyport.vkey --opening AbC...=
--statement "SELECT 1"
"""


def add(commands: typer.Typer) -> None:
    """Add the commands to ``audit``."""
    commands.command("receipt", help=_HELP_RECEIPT)(receipt)
    commands.command("check-receipt", help=_HELP_CHECK)(check_receipt)


def receipt(
    session: Annotated[str, typer.Argument(help="Session id, or enough of its beginning.")],
    number: Annotated[int, typer.Argument(min=1, help="As 'sallyport sessions show' has it.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where to. [stdout]"),
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """``sallyport audit receipt``."""
    from sallyport.operations.receipts import make_receipt

    directory, _ = directories(config, data)
    try:
        made = make_receipt(open_sessions(config, data), directory, session, number)
        if output is None:
            sys.stdout.write(made.note)
        else:
            output.write_text(made.note, encoding="utf-8")
    except OSError as error:
        raise SallyportError(f"{error.filename}: {error.strerror}") from None
    typer.echo(f"opening: {made.opening}", err=True)


def check_receipt(
    file: Annotated[Path, typer.Argument(help="A receipt, from 'sallyport audit receipt'.")],
    key: Key,
    opening: Annotated[str, typer.Option(help="What 'sallyport audit receipt' printed.")] = "",
    statement: Annotated[str | None, typer.Option(help="The SQL text, if it has no binds.")] = None,
    recording: Annotated[
        Path | None, typer.Option(help="The session's recording (.sprec), which has both.")
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """``sallyport audit check-receipt``."""
    from sallyport.audit.display import inert
    from sallyport.audit.keys import NO_KEYS
    from sallyport.audit.receipts import Receipt

    if bool(opening) != (statement is not None or recording is not None):
        raise SallyportError("--opening and one of --statement and --recording belong together")
    public, text = verify_key(key), read_text(file)
    try:
        signed = Receipt.check(text, public)
        problem = ""
        if opening:
            keys = NO_KEYS if recording is None else recording_keys(config, data)
            problem = _compare(signed, opening, statement, recording, keys)
    except SallyportError as error:
        typer.echo(f"FAILED  {inert(str(error))}")
        raise typer.Exit(1) from None
    if as_json:
        facts = msgspec.to_builtins(signed)
        typer.echo(json.dumps({"ok": not problem, "problem": problem, "receipt": facts}))
    else:
        typer.echo(f"FAILED  {inert(problem)}" if problem else "OK")
        for line in _described(signed):
            typer.echo(f"    {inert(line)}")
        if not opening:
            typer.echo("    which statement it is about was not checked (--opening)")
    if problem:
        raise typer.Exit(1)


def _compare(
    signed: Receipt, opening: str, sql: str | None, recording: Path | None, keys: KeyRing
) -> str:
    """Why the receipt is not about this statement; "" when it is. Raises SallyportError."""
    from sallyport.audit.receipts import find_statement
    from sallyport.audit.tlog.notes import decode_base64

    value = decode_base64(opening, "the opening")
    if recording is not None:
        recorded = find_statement(recording, signed.session, signed.number, keys)
        if recorded.head != signed.head:
            return "the recording has the statement in another block than the receipt says"
        if not signed.opens(value, recorded.statement.sql, recorded.statement.binds or ()):
            return "the recording has another statement at this number"
    if sql is not None and not signed.opens(value, sql, ()):
        return "it is about another statement, or one with bind values (give --recording)"
    return ""


def _described(signed: Receipt) -> list[str]:
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(signed.time))
    code = f", {signed.code}" if signed.code else ""
    masked = ", ".join(signed.masked) or "none"
    return [
        f"statement {signed.number} of session {signed.session}, {moment}",
        f"verdict: {signed.outcome}{code}, rule {signed.rule or '-'}",
        f"policy version: {signed.policy_version or '-'}; masked columns: {masked}",
        f"in block {signed.block} of the recording, whose hash is {signed.head}",
    ]
