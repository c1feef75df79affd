"""``sallyport audit report``: a period of the record for an auditor, as a page and as JSON."""

from __future__ import annotations

import json
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from sallyport.cli.auditexport import From, To, moment_of
from sallyport.cli.recorded import ConfigFile, DataDir, directories, errors_told, open_sessions
from sallyport.cli.replayfiles import write_private
from sallyport.core.clock import rfc3339
from sallyport.core.errors import SallyportError

if TYPE_CHECKING:
    from sallyport.operations.auditreport import AuditReport
    from sallyport.operations.sessions import Sessions

_HELP = """Report on a period for an auditor: access, sensitive columns, refusals, approvals,
findings, policy changes, actions, integrity, controls.

--html writes one page that works from a disk and prints on A4; --json prints the same as JSON.
Every recording is verified for it. Exit status 1: the record is not intact, or something could not
be read.

Examples:

    sallyport audit report --from 2026-11-01 --to 2026-12-01 --html november.html

    sallyport audit report --from 2026-11-01 --json > november.json
"""
#: Kept policy versions that are looked at.
_VERSIONS = 1000
#: Fields of the report that are times.
_TIMES = frozenset({"since", "until", "made", "first", "last", "time", "acknowledged"})


def add(commands: typer.Typer) -> None:
    """Add ``report`` to ``audit``."""
    commands.command("report", help=_HELP)(report)


def report(
    config: ConfigFile = None,
    data: DataDir = None,
    begin: From = "",
    end: To = "",
    html: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """See ``--help``."""
    with errors_told():
        now = time.time()
        since, until = moment_of(begin, "--from"), moment_of(end, "--to")
        if since is None:
            raise SallyportError("say when the period begins: --from 2026-11-01")
        if html is None and not as_json:
            raise SallyportError("say what to make: --html FILE, --json, or both")
        if since >= (until or now):
            raise SallyportError("the period is empty: --from is not before --to")
        made = _gathered(open_sessions(config, data, verifying=True), since, until or now, now)
        _add_store(made, config, data)
        if html is not None:
            from sallyport.web.pages.handover import report_page

            write_private(html, report_page(made))
        if html is not None and not as_json:
            typer.echo(f"The report is in {html}.")
        if as_json:
            typer.echo(_json(made))
        if made.integrity.failed or made.unread:
            typer.echo(
                "the record is not intact, or not all of it could be read; the report says what",
                err=True,
            )
            raise typer.Exit(1)


def _gathered(sessions: Sessions, since: float, until: float, now: float) -> AuditReport:
    from sallyport.operations.auditlog import ExportCursor, ExportQuery, audit_events
    from sallyport.operations.auditreport import MOST, AuditReport, Gathering, integrity_of
    from sallyport.operations.sessions import BESIDE

    made = AuditReport(since, until, now)
    gathering = Gathering(made)

    def unread(recording: str, problem: str) -> None:
        if len(made.unread) < MOST:
            made.unread.append((recording, problem))

    for event in audit_events(sessions, ExportQuery(since, until), ExportCursor(), now, unread):
        gathering.add(event)
    made.integrity = integrity_of(sessions.verify(), lambda name: name not in BESIDE)
    gathering.finish()
    return made


def _add_store(made: AuditReport, config: Path | None, data: Path | None) -> None:
    """What only the store and the configuration know. Without them the report says so."""
    from sallyport.cli.storeaccess import readonly_engine
    from sallyport.operations.auditreport import MOST, finding_line, policy_changes
    from sallyport.store.approvalrecords import recorded_approvals
    from sallyport.store.database import StoreError
    from sallyport.store.policies import SqlPolicyVersions
    from sallyport.store.watching import SqlFindingStore

    directory, _ = directories(config, data)
    try:
        engine = readonly_engine(config, data, directory)
    except StoreError as error:
        made.unread.append(
            ("the store", f"{error}: approvals, findings and policies are missing here")
        )
    else:
        decisions = recorded_approvals(engine, made.since, made.until, MOST + 1)
        made.approvals, made.left_out["approvals"] = (
            decisions[:MOST],
            len(decisions) - MOST if len(decisions) > MOST else 0,
        )
        findings = SqlFindingStore(engine).within(made.since, made.until, MOST)
        made.findings = [finding_line(finding) for finding in findings.rows]
        made.left_out["findings"] = findings.left_out
        newest_first = SqlPolicyVersions(engine).recent(_VERSIONS)
        policy, made.policies = policy_changes(reversed(newest_first), made.since, made.until)
        if policy is not None:
            made.configuration.append(("Policy", f"{policy.version}, from {policy.filename}"))
        engine.dispose()
    if data is None:
        made.configuration += _configuration(config or Path("sallyport.yaml"))


def _configuration(file: Path) -> list[tuple[str, str]]:
    """What an auditor asks of it, without secrets."""
    from sallyport.config import load_config
    from sallyport.operations.recordingkeys import key_settings

    settings = load_config(file)
    issuers = [f"{entry.issuer} (audience {entry.audience})" for entry in settings.identity.oidc]
    lines = [
        ("Issuers", "; ".join(issuers)),
        ("Listener", f"{settings.listen}, TLS {'on' if settings.tls else 'off'}"),
    ]
    for name, target in islice(settings.targets.items(), 200):
        place = f"{target.host}:{target.port}/{target.database}"
        lines.append((f"Target {name}", f"{place} as {target.user}, TLS {target.tls}"))
    if settings.console is not None:
        by_role = msgspec.structs.asdict(settings.console.roles)
        roles = "; ".join(
            f"{role}: {', '.join(groups)}" for role, groups in by_role.items() if groups
        )
        lines.append(("Console roles", roles))
    lines.append(("Durability of recordings", str(settings.recording.durability)))
    keys = key_settings(settings)
    encryption = f"AES-256-GCM, key from {keys.place}" if keys.enabled else "off for new ones"
    lines.append(("Encryption of recordings", encryption))
    return lines


def _json(made: AuditReport) -> str:
    """ASCII only."""
    return json.dumps(_timed(msgspec.to_builtins(made)), indent=1).replace("\x7f", "\\u007f")


def _timed(value: Any) -> Any:
    """The report with RFC 3339 in place of Unix seconds."""
    if isinstance(value, list):
        return [_timed(item) for item in value]
    if not isinstance(value, dict):
        return value
    shown = {name: _timed(item) for name, item in value.items()}
    for name in _TIMES & shown.keys():
        if isinstance(shown[name], float):
            shown[name] = rfc3339(shown[name])
    if isinstance(shown.get("spans"), list):
        shown["spans"] = [[rfc3339(at), counts] for at, counts in shown["spans"]]
    return shown
