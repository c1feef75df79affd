"""``sallyport backup`` and ``sallyport restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_BACKUP = """Write a backup of the gateway into one file, also while it runs.

It has the store, the recordings with the signed log, and the configuration. It has no keys, and
says which there are.
Example: sallyport backup /backups/sallyport-2026-11-29.tar --config sallyport.yaml
"""
_RESTORE = """Make a data directory of a backup.

Example: sallyport restore /backups/sallyport-2026-11-29.tar --data /var/lib/sallyport
"""


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("backup", help=_BACKUP)(backup)
    app.command("restore", help=_RESTORE)(restore)


def backup(
    file: Annotated[Path, typer.Argument(help="The file to make.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The gateway's configuration.")
    ] = Path("sallyport.yaml"),
) -> None:
    """See ``--help``."""
    from sallyport.cli.storeaccess import shared_store_of
    from sallyport.config import load_config
    from sallyport.operations.backup import make_backup

    settings = load_config(config)
    address = shared_store_of(settings)
    manifest = make_backup(
        settings.data_directory,
        settings.recording_directory,
        [config, settings.policy_path],
        file,
        "sqlite" if address is None else str(address),
    )
    size = sum(member.size for member in manifest.members)
    typer.echo(f"{len(manifest.members)} files, {size} bytes, in {file}.")
    names = ", ".join(key.name for key in manifest.keys)
    if names:
        typer.echo(f"Not in it, keep them elsewhere: {names} in {settings.data_directory}.")
    if address is not None:
        typer.echo(f"Not in it: {address}. Back it up with pg_dump, before this.")


def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    data: Annotated[Path, typer.Option("--data", help="The directory to make, or an empty one.")],
) -> None:
    """See ``--help``."""
    from sallyport.operations.backup import restore_backup

    manifest = restore_backup(file, data)
    typer.echo(f"{len(manifest.members)} files restored to {data}; their hashes agree.")
    for key in manifest.keys:
        typer.echo(f"Put {key.name} there; its SHA-256 is {key.sha256}.")
    typer.echo(
        f"The configuration is in {data / 'configuration'}. Check with: sallyport audit verify"
    )
