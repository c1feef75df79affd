"""``sallyport demo``: a database, an identity provider and the gateway on this machine, and a tour
through them.

:func:`run` returns the exit status: 0 when every step of the tour showed what it must (and, without
``once``, when it was ended by Ctrl-C or SIGTERM), 1 when not, 2 when it could not start. Whatever
happens, nothing is left running.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from sallyport.core.clock import unix_seconds
from sallyport.core.errors import SallyportError
from sallyport.demo import mcpclient, show, tour
from sallyport.demo.endings import ending, last_words
from sallyport.demo.issuer import DEMO_CLIENTS
from sallyport.demo.postgres import SUPERUSER, bundled
from sallyport.demo.review import ReviewerClient, Seen
from sallyport.demo.shop import AGENT_ROLE
from sallyport.demo.stack import STATE, DemoError, DemoStack, State
from sallyport.targets.role_names import SESSION_ROLES

DIRECTORY = Path("var/demo")
AGENT = "claude-agent"
REVIEWER = "dana-dba"
_TOUR_SECONDS = 60.0
_TOKEN_SECONDS = 10.0
#: A session's end reaches the list a moment after it.
_LISTED_SECONDS = 10.0
#: Much as psql's du+ has it.
_ROLES = """SELECT rolname AS "role", concat_ws(', ',
    CASE WHEN rolcreaterole THEN 'makes roles' END,
    CASE WHEN rolcanlogin THEN 'logs in' ELSE 'cannot log in' END,
    CASE WHEN rolconnlimit >= 0 THEN rolconnlimit || ' connection' END,
    CASE WHEN rolvaliduntil IS NOT NULL THEN 'until ' || to_char(rolvaliduntil, 'HH24:MI:SS') END
  ) AS "attributes",
  coalesce((SELECT string_agg(g.rolname, ', ')
    FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member = r.oid AND r.rolname <> 'sallyport_admin'), '') AS "member of",
  coalesce(shobj_description(oid, 'pg_authid'), '') AS "description"
FROM pg_roles r WHERE rolname LIKE 'sallyport%' ORDER BY rolname"""
_ENDS = (signal.SIGINT, signal.SIGTERM)


def run(*, once: bool, directory: Path = DIRECTORY) -> int:
    """Run the demo; returns the exit status. Errors are printed, never raised."""
    console = show.console()
    # SIGINT as well: a shell that starts the demo in the background has it ignored, and Python
    # leaves that so.
    before = {number: signal.signal(number, _interrupt) for number in _ENDS}
    stood = False
    try:
        _make(directory)
        with DemoStack(directory, lambda line: console.print(f"[dim]·[/] {escape(line)}")) as house:
            stood = True
            good = _tour(console, house)
            if once:
                return 0 if good else 1
            _invite(console, house)
            return _stay(console, house)
    except KeyboardInterrupt:
        return 1 if once else 0
    except (SallyportError, OSError) as problem:
        print(f"sallyport: {problem}", file=sys.stderr)
        return 1 if stood else 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if stood:
            console.print("[dim]· Nothing of the demo runs any more.[/]")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first Ctrl-C or SIGTERM ends the demo; later ones must not interrupt the tearing down."""
    for signal_number in _ENDS:
        signal.signal(signal_number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise DemoError(
            f"The demo cannot make its directory {directory.resolve()}: {problem.strerror}. "
            "Choose one that can be written with --directory"
        ) from None


def _tour(console: Console, house: DemoStack) -> bool:
    """Walk every step; returns whether all showed what they must."""
    client = bundled()
    statements = [step.sql for step in tour.STEPS]
    direct = tour.Login(house.database.port, AGENT_ROLE, house.state.agent_password)
    guarded = tour.Login(house.port, "claude", house.issuer.token(AGENT).reveal())
    # The real answers are fetched only for steps that show them: the others would change the data.
    real = tour.run(client, direct, [step.sql for step in tour.STEPS if step.raw])
    truths = iter(real)
    began = time.time()
    before = _roles(house)
    replies, seen, during = _walk(house, lambda: tour.run(client, guarded, statements))
    good = True
    for number, (step, reply) in enumerate(zip(tour.STEPS, replies, strict=True), 1):
        raw = next(truths) if step.raw else tour.Reply()
        problem = step.check(reply, raw)
        if step.review is not None and not problem:
            problem = tour.previewed(step, reply, seen.get(step.sql))
        good = good and not problem
        wide = console.width >= 170
        console.print(
            show.step(number, step, reply, raw, problem, wide=wide, seen=seen.get(step.sql))
        )
    good = _own_role(console, house, before, during, len(tour.STEPS) + 1) and good
    good = _replay(console, house, began, len(tour.STEPS) + 2) and good
    good = _ask_by_mcp(console, house, real[0], len(tour.STEPS) + 3) and good
    console.print()
    if good:
        console.print("[bold green]Every step showed what it must.[/]")
    else:
        console.print(
            "[bold red]Not every step showed what it must.[/] The gateway's log:"
            f" {house.gateway.log}"
        )
    return good


def _walk(
    house: DemoStack, tour_: Callable[[], list[tour.Reply]]
) -> tuple[list[tour.Reply], dict[str, Seen], tour.Reply]:
    """Run the tour in a thread, and decide meanwhile about what it holds. Gives the replies, what
    the reviewer saw by statement, and the database's roles while a statement waited.
    """
    during = tour.Reply()
    outcomes: list[list[tour.Reply] | Exception] = []

    def walk() -> None:
        try:
            outcomes.append(tour_())
        except (SallyportError, OSError, ValueError) as error:
            outcomes.append(error)

    # it ends with the gateway at the latest
    thread = threading.Thread(target=walk, name="tour", daemon=True)
    desk = ReviewerClient(house.console_url, house.issuer.token(REVIEWER), "Dana, the DBA,")
    try:
        thread.start()
        held = [(step.sql, step.review) for step in tour.STEPS if step.review is not None]
        seen = {}
        for sql, review in held:
            decided = desk.decide(sql, review, thread.is_alive)
            if decided is None:
                break  # the tour is over, and its steps say what went wrong
            seen[sql] = decided
            if len(seen) < len(held):  # the next one waits, or will: the session is there
                during = _roles(house)
    finally:
        desk.close()
    thread.join(_TOUR_SECONDS)
    if not outcomes or isinstance(outcomes[0], Exception):
        why = (str(outcomes[0]) or type(outcomes[0]).__name__) if outcomes else "psql still runs"
        raise DemoError(f"The tour did not end: {why}. The gateway's log is {house.gateway.log}")
    return outcomes[0], seen, during


def _roles(house: DemoStack) -> tour.Reply:
    """The database's roles that have to do with Sallyport, as its administrator sees them."""
    login = tour.Login(house.database.port, SUPERUSER, house.state.superuser_password)
    (reply,) = tour.run(bundled(), login, [_ROLES])
    return reply


def _own_role(
    console: Console, house: DemoStack, before: tour.Reply, during: tour.Reply, number: int
) -> bool:
    """The agent's session had a database role of its own: the roles before it, while it lasted and
    after it.
    """
    title = (
        "The agent's session had a database role of its own, with what policy can give it, as long"
        " as it lasted."
    )
    console.print(f"\n[bold cyan]{number}.[/] [bold]{title}[/]")
    deadline = time.monotonic() + _LISTED_SECONDS
    after = _roles(house)
    while _sessions_of(after) and time.monotonic() < deadline:
        time.sleep(0.2)
        after = _roles(house)
    for words, reply in (("before", before), ("during", during), ("after", after)):
        console.print(
            Padding(show.table(reply, f"the database's roles {words} the session"), (0, 0, 0, 3))
        )
    good = [len(_sessions_of(reply)) for reply in (before, during, after)] == [0, 1, 0]
    console.print(
        "   [green]✓ as it must be[/]"
        if good
        else "   [bold red]✗ not one role, for that time only[/]"
    )
    return good


def _sessions_of(reply: tour.Reply) -> list[str]:
    return [row[0] for row in reply.rows if re.fullmatch(SESSION_ROLES, row[0])]


def _as_recorded(line: str) -> re.Pattern[str]:
    """A line of SQL, in which each constant may have been masked: recordings hide what meets a
    masked column.
    """
    parts = re.split(r"('[^']*'|\b\d+\b)", line)
    constants = (f"(?:{re.escape(part)}|'\\[redacted\\]')" for part in parts[1::2])
    return re.compile("".join(re.escape(text) + next(constants, "") for text in parts[::2]))


def _replay(console: Console, house: DemoStack, began: float, number: int) -> bool:
    """The last step: the session made since ``began``, listed and replayed from its recording."""
    title = (
        "All of it was recorded, as the agent saw it, without the values that meet masked columns."
    )
    console.print(f"\n[bold cyan]{number}.[/] [bold]{title}[/]")
    session, problem = _ended_session(house, began)
    if not session:
        console.print(f"   [bold red]✗ {escape(problem)}[/]")
        return False
    replayed = _sallyport(house, "sessions", "replay", session)
    lines = replayed.stdout.rstrip().splitlines()
    command = f"sallyport sessions replay {session} --config {shlex.quote(str(house.config))}"
    console.print(f"   [dim]$[/] {escape(command)}", soft_wrap=True)
    for line in lines[:14]:
        console.print(f"   {line}", markup=False, no_wrap=True, overflow="ellipsis")
    if len(lines) > 14:
        console.print(f"   [dim]... and {len(lines) - 14} lines more[/]")
    shown = (
        _as_recorded(line).search(replayed.stdout)
        for step in tour.STEPS
        for line in step.sql.splitlines()
    )
    complete = replayed.returncode == 0 and all(shown)
    if complete:
        console.print("   [green]✓ as it must be[/]")
    else:
        said = f"the command {ending(replayed.returncode)}: {last_words(replayed.stderr)}"
        console.print(f"   [bold red]✗ the replay is not complete; {escape(said)}[/]")
    return complete


def _ask_by_mcp(console: Console, house: DemoStack, real: tour.Reply, number: int) -> bool:
    """The first step's question by an MCP client's tool. ``real``: the database's own answer."""
    title = (
        "The same by MCP: a client such as Claude Code calls the tool query. Its masks are alike."
    )
    console.print(f"\n[bold cyan]{number}.[/] [bold]{title}[/]")
    if not mcpclient.is_installed():
        console.print("   [dim]left out: it needs pip install 'sallyport[mcp]'[/]")
        return True
    step = tour.STEPS[0]
    gateway = f"127.0.0.1:{house.port}"
    console.print(f"   [dim]$[/] sallyport mcp --target shop --gateway {gateway}")
    console.print(f'   [dim]query[/] {{"sql": "{escape(step.sql)}"}}', soft_wrap=True)
    command = [sys.executable, "-m", "sallyport", "mcp", "--target", "shop", "--gateway", gateway]
    who = {
        "SALLYPORT_ISSUER": house.issuer.url,
        "SALLYPORT_CLIENT_ID": AGENT,
        "SALLYPORT_CLIENT_SECRET": DEMO_CLIENTS[AGENT].secret.reveal(),
    }
    try:
        reply = mcpclient.query(command, who, step.sql)
    except mcpclient.McpError as error:
        problem = str(error)
    else:
        console.print(Padding(show.table(reply, ""), (0, 0, 0, 3)))
        problem = reply.message or step.check(reply, real)
    console.print(
        f"   [bold red]✗ {escape(problem)}[/]" if problem else "   [green]✓ as it must be[/]"
    )
    return not problem


def _ended_session(house: DemoStack, began: float) -> tuple[str, str]:
    """The id of the session that began last, once it is listed as ended; when that does not come,
    "" and why.
    """
    deadline = time.monotonic() + _LISTED_SECONDS
    problem = "the session is not listed"
    while time.monotonic() < deadline:
        listed = _sallyport(house, "sessions", "list", "--json")
        try:
            newest = json.loads(listed.stdout)[0]
            if unix_seconds(newest["started"]) >= began - 0.001 and newest["status"] == "ended":
                return str(newest["id"]), ""
        except (ValueError, LookupError, TypeError):
            pass  # nothing is listed yet
        if listed.returncode:
            said = last_words(listed.stderr)
            problem = (
                f"the sessions could not be listed; the command {ending(listed.returncode)}: {said}"
            )
        time.sleep(0.2)
    return "", problem


def _sallyport(house: DemoStack, *words: str) -> subprocess.CompletedProcess[str]:
    command = house.command(*words)
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        raise DemoError(f"sallyport {' '.join(words)} did not end within 60 s") from None


def _invite(console: Console, house: DemoStack) -> None:
    """Say how to connect, and as whom. Commands stand alone on their line, whole, however narrow
    the terminal: they are there to be copied.
    """
    psql = shutil.which("psql") or str(bundled().program("psql"))
    sallyport = " ".join(shlex.quote(word) for word in _program())
    token = f"{sallyport} demo --token --directory {shlex.quote(str(house.directory))}"
    where = f"host=127.0.0.1 port={house.port} dbname=shop user=claude"
    config = shlex.quote(str(house.config))
    lines = (
        "Your turn. Connect as an agent would, from another terminal (each token lasts an hour):",
        "",
        f'PGPASSWORD="$({token})" {shlex.quote(psql)} "{where}"',
        "",
        (
            "To be somebody else, add --as NAME after --token; NAME is one of"
            f" {', '.join(house.issuer.clients)}."
        ),
        "",
        "With Claude Code, which starts the MCP server (docs/mcp.md has other clients):",
        "",
        (
            f"claude mcp add shop -e SALLYPORT_ISSUER={house.issuer.url}"
            f" -e SALLYPORT_CLIENT_ID={AGENT} -e SALLYPORT_CLIENT_SECRET=demo"
            f" -- {sallyport} mcp --target shop --gateway 127.0.0.1:{house.port}"
        ),
        "",
        "What was recorded:",
        "",
        f"{sallyport} sessions list --config {config}",
        f"{sallyport} audit verify --config {config}",
        "",
        f"The console: {house.console_url} (no passwords: choose who to be)",
        *(f"  {person.name:<5} {person.about}" for person in house.issuer.people),
        "",
        (
            "As the agent, run DELETE FROM payments WHERE order_id = 43; it waits. Decide about it"
            " there as Dana, or list it with"
        ),
        "",
        (
            f'SALLYPORT_TOKEN="$({token} --as {REVIEWER})" {sallyport} approvals list --url'
            f" {house.console_url}"
        ),
        "",
        "and approve ID, or deny ID --reason WHY, in the place of list.",
        f"The rules: {house.directory / 'policy.yaml'} (edit it: it is reloaded at once)",
        f"The log:   {house.gateway.log}",
        "Ctrl-C ends the demo.",
    )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _program() -> list[str]:
    """How this program is called from anywhere: by its absolute path."""
    called = Path(sys.argv[0])
    if called.name == "sallyport" and called.is_file():
        return [str(called.absolute())]
    return [sys.executable, "-m", "sallyport"]


def _stay(console: Console, house: DemoStack) -> int:
    while house.gateway.alive and house.database.running:
        time.sleep(0.3)
    log = house.database.log if house.gateway.alive else house.gateway.log
    what = "PostgreSQL" if house.gateway.alive else "The gateway"
    status = house.database.status if house.gateway.alive else house.gateway.process.poll()
    console.print(
        f"[bold red]{what} {ending(status)}, which the demo did not ask for.[/] Its log: {log}"
    )
    return 1


def token(client: str, directory: Path = DIRECTORY) -> str:
    """A new token from the running demo's issuer, by the client_credentials grant. DemoError when
    that fails.
    """
    issuer = State.load(directory / STATE).issuer
    if not issuer:
        raise DemoError(
            f"No demo has run in {directory.resolve()}. Start one with: sallyport demo; "
            "or name the directory of the one that runs with --directory"
        )
    if client not in DEMO_CLIENTS:
        raise DemoError(
            f"Nobody in the demo is called {client!r}. --as takes {', '.join(DEMO_CLIENTS)}"
        )
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": "demo"}
    try:
        answer = httpx2.post(f"{issuer}/token", data=form, timeout=_TOKEN_SECONDS, trust_env=False)
    except httpx2.HTTPError:
        raise DemoError(
            "The demo does not run. Start it in another terminal: sallyport demo"
        ) from None
    if answer.status_code != 200:
        said = f"{answer.status_code} {last_words(answer.text[:300])}"
        raise DemoError(f"The demo's issuer gives no token to {client!r}: it answered {said}")
    return str(answer.json()["access_token"])
