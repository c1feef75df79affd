"""``sallyport audit key``, ``prove``, ``check-proof``, ``consistency``, ``new-log``: the signed
log.

``check-proof`` needs a file and the public key, and nothing of the gateway. Exit status: 0; 1 when
something is not so; 2 when there is nothing to look at.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.auditindex import locked
from sallyport.cli.recorded import WHERE, ConfigFile, DataDir, directories, open_sessions
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.audit.tlog.entries import Entry
    from sallyport.audit.tlog.notes import VerifyKey
    from sallyport.operations.sessions import Anchor

Key = Annotated[
    str,
    typer.Option("--key", help="The log's public key, or a file with it: 'sallyport audit key'."),
]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        help="A file with checkpoints from elsewhere, such as a witness'. May be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]

_HELP_KEY = """Print the log's public key. Keep it where the gateway's host cannot reach.

Example: sallyport audit key > sallyport.vkey
"""

_HELP_PROVE = """Write a proof that the log has a session's newest head.

The file is a C2SP tlog-proof: the entry, its place in the tree, and the signed checkpoint.
Example: sallyport audit prove ses_01m7xtb2 -o ses_01m7xtb2.tlog-proof
"""

_HELP_CHECK = """Check a proof with the public key alone, and say what it proves.

With --recording, also whether a recording has the block that is proven. Exit status 1: it does not
hold. Example: sallyport audit check-proof ses_01m7xtb2.tlog-proof --key sallyport.vkey
"""

_HELP_CONSISTENCY = """Check that the log of one checkpoint begins with the log of an older one.

Both are files; the hashes between them are read from the log in the data directory. Exit status 1:
it does not.
Example: sallyport audit consistency october.checkpoint november.checkpoint --key sallyport.vkey
"""

_HELP_NEW = """Set the log and its key aside; the next start begins another. Stop the gateway first.

For a log that cannot go on: it was rolled back, damaged, or its key is lost. Heads of recordings
go into the new one, marked as late. Give the new key to whoever verifies.
Example: sallyport audit new-log
"""


def add(commands: typer.Typer) -> None:
    """Add the commands of the log to ``audit``."""
    commands.command("key", help=_HELP_KEY)(show_key)
    commands.command("prove", help=_HELP_PROVE)(prove)
    commands.command("check-proof", help=_HELP_CHECK)(check_proof)
    commands.command("consistency", help=_HELP_CONSISTENCY)(consistency)
    commands.command("new-log", help=_HELP_NEW)(new_log)


def anchor_of(
    config: Path | None, data: Path | None, key: str, checkpoints: list[Path] | None
) -> Anchor:
    """What ``audit verify`` compares with: what was named, and what the archive has where it is a
    witness. Raises SallyportError.
    """
    from sallyport.audit.tlog.keyfile import FILE
    from sallyport.audit.tlog.witnesses import read_checkpoints
    from sallyport.operations.sessions import Anchor

    kept: list[tuple[str, str]] = []
    for path in checkpoints or []:
        notes = list(read_checkpoints(read_text(path)))
        if not notes:
            raise SallyportError(f"{path} has no checkpoint. A file witness writes such files")
        kept += [(str(path), note) for note in notes]
    kept += _archived(config, data)
    expected = bool(key or kept) or (directories(config, data)[0] / FILE).exists()
    return Anchor(verify_key(key) if key else None, tuple(kept), expected)


def _archived(config: Path | None, data: Path | None) -> list[tuple[str, str]]:
    """The newest checkpoint in the archive, where that is a witness. Raises SallyportError."""
    from sallyport.audit.tlog.notes import NoteError
    from sallyport.audit.tlog.reading import read_vkey
    from sallyport.audit.tlog.tiles import DIRECTORY, TileError
    from sallyport.cli.recorded import archive_witness

    witness = archive_witness(config, data)
    if witness is None:
        return []
    try:
        origin = read_vkey(directories(config, data)[1] / DIRECTORY).name
    except (TileError, NoteError):
        return []  # verification says what is wrong with the log
    note = witness.seen(origin)
    return [(witness.name, note)] if note else []


def verify_key(text: str) -> VerifyKey:
    """From ``--key``: the key itself, or a file. Raises SallyportError."""
    from sallyport.audit.tlog.notes import VerifyKey

    if "+" not in text or (len(text) < 200 and Path(text).is_file()):
        text = read_text(Path(text))
    return VerifyKey.parse(text)


def read_text(path: Path) -> str:
    """A file that was named on the command line. Raises SallyportError."""
    from sallyport.audit.tlog.tiles import read_regular

    try:
        return read_regular(path, 1 << 30).decode("utf-8")
    except OSError as error:
        raise SallyportError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SallyportError(f"{path} is not text") from None


def _log_directory(config: Path | None, data: Path | None) -> Path:
    from sallyport.audit.tlog.tiles import DIRECTORY

    _, recordings = directories(config, data)
    directory = recordings / DIRECTORY
    if not directory.is_dir():
        raise SallyportError(
            f"there is no log in {directory.absolute()}; the gateway makes it at start. {WHERE}"
        )
    return directory


def show_key(
    config: ConfigFile = None,
    data: DataDir = None,
    cosigner: Annotated[
        bool,
        typer.Option("--cosigner", help="The key with which this gateway cosigns logs of others."),
    ] = False,
) -> None:
    """``sallyport audit key``."""
    from sallyport.audit.tlog.cosigning import KEY_FILE
    from sallyport.audit.tlog.keyfile import read_key
    from sallyport.audit.tlog.reading import read_vkey

    if cosigner:
        path = directories(config, data)[0] / KEY_FILE
        if not path.exists():
            raise SallyportError(
                f"there is no {path.absolute()}; a gateway with audit.cosign makes it. {WHERE}"
            )
        typer.echo(str(read_key(path).public))
        return
    typer.echo(str(read_vkey(_log_directory(config, data))))


def prove(
    session: Annotated[str, typer.Argument(help="Session id, or enough of its beginning.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Where to. [stdout]"),
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """``sallyport audit prove``."""
    from sallyport.audit.tlog.proofs import prove_session

    directory = _log_directory(config, data)
    proof = prove_session(directory, open_sessions(config, data).find(session).id)
    if output is None:
        sys.stdout.write(str(proof))
        return
    try:
        output.write_text(str(proof), encoding="utf-8")
    except OSError as error:
        raise SallyportError(f"cannot write {output}: {error.strerror}") from None
    typer.echo(f"{output}: entry {proof.index} of {proof.checkpoint.size}", err=True)


def check_proof(
    file: Annotated[Path, typer.Argument(help="A proof, from 'sallyport audit prove'.")],
    key: Key,
    recording: Annotated[
        Path | None, typer.Option(help="A recording (.sprec) that must be the one that is proven.")
    ] = None,
    cosigners: Annotated[
        list[str] | None,
        typer.Option("--cosigner", help="A witness' public key that must have cosigned it, too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """``sallyport audit check-proof``."""
    from sallyport.audit.display import inert
    from sallyport.audit.tlog.proofs import Proof

    public, proof = verify_key(key), Proof.parse(read_text(file))
    try:
        entry = proof.check(public)
        for cosigner in cosigners or []:
            proof.checkpoint.note.check(verify_key(cosigner))
    except SallyportError as error:
        typer.echo(f"FAILED  {inert(str(error))}")
        raise typer.Exit(1) from None
    problem = _compare_recording(recording, entry) if recording is not None else ""
    if as_json:
        facts = json.loads(proof.entry)
        place = {
            "index": proof.index,
            "size": proof.checkpoint.size,
            "origin": proof.checkpoint.origin,
        }
        typer.echo(json.dumps({"ok": not problem, "problem": problem, **place, "entry": facts}))
    else:
        typer.echo(f"{'FAILED  ' + inert(problem) if problem else 'OK'}")
        typer.echo(
            f"entry {proof.index} of {proof.checkpoint.size}, log {inert(proof.checkpoint.origin)}",
        )
        for line in _described(entry):
            typer.echo(f"    {inert(line)}")
    if problem:
        raise typer.Exit(1)


def _described(entry: Entry) -> list[str]:
    from sallyport.audit.tlog.entries import Head, LogBegun

    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(entry.time))
    if isinstance(entry, LogBegun):
        return [f"the log began, {moment}"]
    if isinstance(entry, Head):
        late = "; logged late: the session was over before" if entry.late else ""
        counts = f"{entry.statements} statements, {entry.refused} refused, {entry.rows} rows"
        return [
            f"session {entry.session}, {entry.status}, logged {moment}{late}",
            f"head of its recording: {entry.head}",
            f"{counts}, {entry.bytes} bytes",
        ]
    return [f"the recording of {entry.session} was deleted, {moment}: {entry.reason}"]


def _compare_recording(path: Path, entry: Entry) -> str:
    """Why the recording is not the one that is proven; "" when it is."""
    from sallyport.audit.archive import RecordingError
    from sallyport.audit.tlog.entries import Head
    from sallyport.audit.tlog.heads_of_recordings import compare_head
    from sallyport.audit.verify import verify

    if not isinstance(entry, Head):
        return "the entry is not about a recording"
    try:
        result = verify(path, is_copy=True)
    except RecordingError as error:
        return str(error)
    compare_head(result, entry)
    return str(result.problems[0]) if result.problems else ""


def consistency(
    old: Annotated[Path, typer.Argument(help="A file with the older checkpoint.")],
    new: Annotated[Path, typer.Argument(help="A file with the newer checkpoint.")],
    key: Key = "",
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """``sallyport audit consistency``."""
    from sallyport.audit.tlog.hashing import consistency_proof, verify_consistency
    from sallyport.audit.tlog.notes import NoteError
    from sallyport.audit.tlog.reading import LogReader, read_checkpoint, read_vkey
    from sallyport.audit.tlog.tiles import TileError

    directory = _log_directory(config, data)
    public = verify_key(key) if key else read_vkey(directory)
    try:
        before, after = read_checkpoint(old, public), read_checkpoint(new, public)
    except NoteError as error:
        typer.echo(f"FAILED  {error}")
        raise typer.Exit(1) from None
    if before.size > after.size:
        raise SallyportError(f"{old} has {before.size} entries, {new} has {after.size}: swap them")
    tiles = LogReader(directory).tiles
    if after.size > tiles.size:
        typer.echo(f"FAILED  rolled back: {new} has {after.size} entries, the log has {tiles.size}")
        raise typer.Exit(1)
    try:
        proof = consistency_proof(tiles.node, before.size, after.size)
    except TileError as error:
        raise SallyportError(f"{error}; see 'sallyport audit verify'") from None
    if not verify_consistency(before.size, before.root, after.size, after.root, proof):
        typer.echo(
            f"FAILED  fork: the log of {after.size} does not begin with that of {before.size}",
        )
        raise typer.Exit(1)
    typer.echo(f"OK  the log of {after.size} entries begins with that of {before.size}")


def new_log(config: ConfigFile = None, data: DataDir = None) -> None:
    """``sallyport audit new-log``."""
    from sallyport.audit.tlog.keyfile import FILE
    from sallyport.audit.tlog.tiles import DIRECTORY

    directory, recordings = directories(config, data)
    if not directory.is_dir():
        raise SallyportError(f"there is no data directory {directory.absolute()}. {WHERE}")
    suffix = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with locked(directory):
        for path in (recordings / DIRECTORY, directory / FILE):
            if not path.exists():
                typer.echo(f"{path} was not there.")
                continue
            kept = path.with_name(f"{path.name}.{suffix}")
            try:
                path.rename(kept)
            except OSError as error:
                raise SallyportError(f"cannot rename {path}: {error.strerror}") from None
            typer.echo(f"{path} is now {kept.name}.")
    typer.echo("The next start begins another log. Its key: sallyport audit key")
