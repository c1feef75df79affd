"""``sallyport demo``: a database, an identity provider and the gateway on this machine, and a tour through
them.

:func:`run` returns the exit status: 0 when every step of the tour showed what it must (and, without
``once``, when it was ended by Ctrl-C or SIGTERM), 1 otherwise. Whatever happens, nothing is left running.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from sallyport.core.errors import SallyportError
from sallyport.demo import show, tour
from sallyport.demo.house import STATE, DemoError, House, State
from sallyport.demo.postgres import bundled
from sallyport.demo.shop import AGENT_ROLE

DIRECTORY = Path("var/demo")
AGENT = "claude-agent"
_TOKEN_SECONDS = 10.0
#: A session's end reaches the list a moment after it.
_LISTED_SECONDS = 10.0


def run(*, once: bool, directory: Path = DIRECTORY) -> int:
    """Run the demo; returns the exit status. Errors are printed, never raised."""
    console = show.console()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with House(directory, lambda line: console.print(f"[dim]·[/] {escape(line)}")) as house:
            good = _tour(console, house)
            if once:
                return 0 if good else 1
            _invite(console, house)
            return _stay(console, house)
    except KeyboardInterrupt:
        return 1 if once else 0
    except (SallyportError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
        console.print("[dim]· Nothing of the demo runs any more.[/]")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo the way Ctrl-C does; a second one must not interrupt the tearing down."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tour(console: Console, house: House) -> bool:
    """Walk every step; returns whether all showed what they must."""
    client = bundled()
    statements = [step.sql for step in tour.STEPS]
    direct = tour.Login(house.database.port, AGENT_ROLE, house.state.agent_password)
    guarded = tour.Login(house.port, "claude", house.issuer.token(AGENT).reveal())
    # The real answers are fetched only for steps that show them: the others would change the data.
    truths = iter(tour.run(client, direct, [step.sql for step in tour.STEPS if step.raw]))
    began = time.time()
    replies = tour.run(client, guarded, statements)
    good = True
    for number, (step, reply) in enumerate(zip(tour.STEPS, replies, strict=True), 1):
        raw = next(truths) if step.raw else tour.Reply()
        problem = step.check(reply, raw)
        good = good and not problem
        console.print(show.step(number, step, reply, raw, problem, wide=console.width >= 170))
    good = _replay(console, house, began, len(tour.STEPS) + 1) and good
    console.print()
    if good:
        console.print("[bold green]Every step showed what it must.[/]")
    else:
        console.print(
            f"[bold red]Not every step showed what it must.[/] The gateway's log: {house.gateway.log}"
        )
    return good


def _replay(console: Console, house: House, began: float, number: int) -> bool:
    """The last step: the session made since ``began``, listed and replayed from its recording."""
    title = "All of it was recorded, as the agent saw it. Any session can be replayed."
    console.print(f"\n[bold cyan]{number}.[/] [bold]{title}[/]")
    session = _ended_session(house, began)
    if not session:
        console.print("   [bold red]✗ the session is not listed[/]")
        return False
    replayed = _sallyport(house, "sessions", "replay", session)
    lines = replayed.stdout.rstrip().splitlines()
    console.print(f"   [dim]$[/] sallyport sessions replay {session}")
    for line in lines[:14]:
        console.print(f"   {line}", markup=False, no_wrap=True, overflow="ellipsis")
    if len(lines) > 14:
        console.print(f"   [dim]... and {len(lines) - 14} lines more[/]")
    complete = replayed.returncode == 0 and all(step.sql in replayed.stdout for step in tour.STEPS)
    console.print(
        "   [green]✓ as it must be[/]" if complete else "   [bold red]✗ the replay is not complete[/]"
    )
    return complete


def _ended_session(house: House, began: float) -> str:
    """The id of the session that began last, once it is listed as ended; "" when that does not come."""
    deadline = time.monotonic() + _LISTED_SECONDS
    while time.monotonic() < deadline:
        listed = _sallyport(house, "sessions", "list", "--json")
        try:
            newest = json.loads(listed.stdout)[0]
            if newest["started"] >= began and newest["status"] == "ended":
                return str(newest["id"])
        except (ValueError, LookupError, TypeError):
            pass  # nothing is listed yet
        time.sleep(0.2)
    return ""


def _sallyport(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(house.command(*words), capture_output=True, text=True, timeout=60, check=False)


def _invite(console: Console, house: House) -> None:
    """Say how to connect, and as whom."""
    psql = "psql" if shutil.which("psql") else str(bundled().program("psql"))
    sallyport = Path(sys.argv[0]).name if shutil.which("sallyport") else f"{sys.executable} -m sallyport"
    here = "" if house.directory == DIRECTORY.resolve() else f" --directory {house.directory}"
    where = f"host=127.0.0.1 port={house.port} dbname=shop user=claude"
    lines = (
        "Connect as an agent would, from another terminal:",
        "",
        f'  PGPASSWORD="$({sallyport} demo --token{here})" {psql} "{where}"',
        "",
        f"Each token lasts an hour; {sallyport} demo --token{here} prints a new one.",
        f"--as {', '.join(house.issuer.clients)} gives you somebody else's.",
        "",
        f"The rules: {house.directory / 'policy.yaml'} (edit it: it is reloaded at once)",
        f"The log:   {house.gateway.log}",
    )
    console.print(Panel("\n".join(escape(line) for line in lines), title="Your turn", expand=False))
    console.print("Ctrl-C ends the demo.")


def _stay(console: Console, house: House) -> int:
    while house.gateway.alive and house.database.running:
        time.sleep(0.3)
    what = "PostgreSQL" if house.gateway.alive else f"The gateway (see {house.gateway.log})"
    console.print(f"[bold red]{what} ended by itself.[/]")
    return 1


def token(client: str, directory: Path = DIRECTORY) -> str:
    """A new token from the running demo's issuer, by the client_credentials grant. DemoError when that
    fails.
    """
    issuer = State.load(directory / STATE).issuer
    if not issuer:
        raise DemoError(f"No demo has run in {directory}. Start one: sallyport demo")
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": "demo"}
    try:
        answer = httpx2.post(f"{issuer}/token", data=form, timeout=_TOKEN_SECONDS)
    except httpx2.HTTPError:
        raise DemoError("The demo does not run. Start it in another terminal: sallyport demo") from None
    if answer.status_code != 200:
        raise DemoError(f"The demo's issuer gives no token to {client!r}: {answer.json().get('error', '')}")
    return str(answer.json()["access_token"])
