"""Opening what was recorded, for commands that read a data directory beside a running gateway, and
telling what was wrong with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sallyport.cli.storeaccess import named_settings, readonly_engine, result_of, shared_store
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.audit.keys import KeyRing
    from sallyport.audit.verify import VerificationProblem
    from sallyport.config import Config
    from sallyport.operations.recordingkeys import KeySettings
    from sallyport.operations.sessions import Fetch, Sessions
    from sallyport.store.archivewitness import ArchiveWitness
    from sallyport.store.objects import ObjectArchive

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The gateway's configuration; its data directory is read. [./sallyport.yaml]",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data", help="The data directory itself, instead of --config.")
]


def open_sessions(config: Path | None, data: Path | None, *, verifying: bool = False) -> Sessions:
    """``verifying``: an index that is missing or unreadable is a finding. Raises SallyportError
    when there is no data directory.
    """
    from sallyport.app.gateway_store import gateway_name
    from sallyport.app.record_delivery import from_anywhere
    from sallyport.operations.sessions import Sessions
    from sallyport.store.database import FILE, StoreError
    from sallyport.store.sessions import SqlSessionIndex

    directory, recordings = directories(config, data)
    if not directory.is_dir():
        raise SallyportError(f"there is no data directory {directory.absolute()}. {WHERE}")
    keys = recording_keys(config, data)
    is_shared = shared_store(config, data) is not None
    if not (directory / FILE).exists() and not is_shared:
        if not recordings.is_dir():
            raise SallyportError(f"no gateway has kept its data in {directory.absolute()}. {WHERE}")
        # Copies of recordings alone can be read; where a gateway ran, its index is missed.
        ran = (directory / "gateway.lock").exists()
        problem = f"{directory / FILE} is missing" if ran else ""
        return Sessions(recordings, None, index_problem=problem, keys=keys)
    try:
        name = gateway_name(directory) if is_shared else ""
        # Recordings of other gateways are not here: each verifies its own.
        own = name if verifying else ""
        index = SqlSessionIndex(readonly_engine(config, data, directory), gateway=own)
    except StoreError as error:
        if not verifying:
            raise
        return Sessions(recordings, None, index_problem=str(error), keys=keys)
    fetch = archive_fetcher(config, data)
    if is_shared:
        fetch = partial(from_anywhere, fetch, name)
    return Sessions(recordings, index, keys=keys, fetch=fetch)


def recording_keys(config: Path | None, data: Path | None) -> KeyRing:
    """The keys that decrypt recordings: those of the configuration; with ``--data`` (and where
    there is no configuration) the file ``recording.key`` in that directory, where there is one.
    Raises ConfigError.
    """
    from sallyport.operations.recordingkeys import load_keys

    _, recordings = directories(config, data)
    return result_of(load_keys(_key_settings(config, data), recordings))


def key_file(config: Path | None, data: Path | None) -> Path:
    """The file with the key of recordings. Raises SallyportError when it is not in a file."""
    settings = _key_settings(config, data)
    reference = settings.reference
    if settings.kms is not None or reference.kind != "file":
        raise SallyportError(
            f"the key of recordings is not in a file but in {settings.place}: replace it there"
        )
    return Path(reference.value)


def _key_settings(config: Path | None, data: Path | None) -> KeySettings:
    from sallyport.operations.recordingkeys import KeySettings, key_settings

    settings = named_settings(config, data)
    return KeySettings(directories(config, data)[0]) if settings is None else key_settings(settings)


def archive_fetcher(config: Path | None, data: Path | None) -> Fetch | None:
    """What brings recordings back from the archive; None without one, and with --data, which does
    not say where it is. Raises ConfigError.
    """
    from sallyport.app.record_delivery import fetcher

    settings = named_settings(config, data)
    return None if settings is None else fetcher(settings, _archive(settings))


def archive_witness(config: Path | None, data: Path | None) -> ArchiveWitness | None:
    """The archive, where the configuration has it among the witnesses of the log; None with --data.
    Raises ConfigError.
    """
    from sallyport.store.archivewitness import ArchiveWitness

    settings = named_settings(config, data)
    if settings is None or not any(witness.archive for witness in settings.audit.witnesses):
        return None
    archive = _archive(settings)
    return None if archive is None else ArchiveWitness(archive)


def _archive(settings: Config) -> ObjectArchive | None:
    if settings.archive is None:
        return None
    from sallyport.app.record_delivery import open_archive
    from sallyport.app.target_logins import TargetLogins

    return result_of(open_archive(settings, TargetLogins(settings).secret))


#: What to do when there is nothing in the place that was looked at.
WHERE = (
    "Say which gateway's with --config sallyport.yaml (the demo's: --config"
    " var/demo/sallyport.yaml), or --data DIRECTORY"
)


def directories(config: Path | None, data: Path | None) -> tuple[Path, Path]:
    """The data directory, and where the recordings are."""
    if data is not None:
        return data, data / "recordings"
    settings = named_settings(config, data)
    if settings is None:
        return Path("var"), Path("var/recordings")
    data = Path(settings.data)
    return data, Path(settings.recording.directory or data / "recordings")


@contextmanager
def errors_told() -> Iterator[list[VerificationProblem]]:
    """Errors as one line on standard error; what was found wrong with a recording as well, with
    status 1.
    """
    problems: list[VerificationProblem] = []
    try:
        yield problems
    except SallyportError as error:
        typer.echo(f"sallyport: {error}", err=True)
        raise typer.Exit(2) from None
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        raise typer.Exit(0) from None
    for problem in problems:
        typer.echo(
            f"warning: the recording stops here: {problem}; see 'sallyport audit verify'", err=True
        )
    if problems:
        raise typer.Exit(1)
