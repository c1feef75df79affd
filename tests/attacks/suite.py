"""Runs attacks and benign statements through a real gateway before real databases, and judges what
comes back.

Every attack runs in each way of :mod:`ways` in every world at once. Two oracles: no canary in any
byte received, nor afterwards in anything that can be read (``canary``); every byte received, and
everything public in the databases, equal in all worlds (``differs``). What a statement wrote is
undone before the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from sallyport.demo.issuer import DevIssuer
from sallyport.demo.postgres import free_port
from sallyport.wire import frontend
from tests.attacks import oracles, protocol
from tests.attacks.agents import CLIENTS, REVIEWER, SHOWN_SOME, attacked_policy
from tests.attacks.approving import Approver, behind
from tests.attacks.cases import Case, Step
from tests.attacks.client import Client, Hang
from tests.attacks.mcp_client import McpClient, listens
from tests.attacks.playing import exchange, play, tidy
from tests.attacks.ways import MCP, PLAIN_WAYS, WAYS
from tests.attacks.worlds import HIDDEN_WRITABLE, ROLE, Databases
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server
from tests.support.waiting import wait_for


@dataclass
class Finding:
    """Something wrong: what (canary, differs, changed, hang, fault, refused, answer), and the
    evidence. A fault of the judge fails closed; it counts like a leak, because what makes the judge
    stumble has not been judged.
    """

    case: Case | str
    way: str
    what: str
    evidence: str
    residual: str = ""

    def __str__(self) -> str:
        return f"{self.what.upper()} [{self.way}] {self.case}\n    {self.evidence}"


@dataclass
class Row:
    """One line of the table."""

    tried: int = 0
    leaked: int = 0
    refused: int = 0
    residual: int = 0
    stopped: int = 0  # attacks that were refused in every way, by the gateway
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Outcome:
    """Of one case in one way. ``stopped``: the gateway refused it in every world."""

    findings: list[Finding]
    stopped: bool


class Bench:
    """One server with its worlds, and a gateway before them. ``ways`` and ``worlds`` may be fewer,
    for speed.
    """

    def __init__(self, version: str, issuer: DevIssuer, server: Server) -> None:
        self.version, self.server = version, server
        self.databases = Databases(server)
        targets = {
            name: Server(version, server.cluster, server.ca, database=name, user=ROLE)
            for name in [*self.databases.names, *self.databases.builders]
        }
        limits = {"max_sessions_per_subject": 200, "max_sessions": 500}
        console = f"127.0.0.1:{free_port()}"
        extra = {
            "mask_keys": {"attacks": {"env": "ATTACKDB0_PASSWORD"}},
            "limits": limits,
            "console": {"listen": console, "roles": {"reviewer": [REVIEWER]}},
            "mcp": {},
            "approvals": {"limits": {"per_hour": 1_000_000, "per_minute": 1_000_000}},
        }
        self.console, self.mcp_url = console, f"http://{console}/mcp"
        self.gateway = Gateway(issuer, targets, policy=attacked_policy(), extra=extra).start()
        self.issuer = issuer
        self._clients: dict[tuple[str, str], Client] = {}
        self._mcp_clients: dict[tuple[str, str], McpClient] = {}

    def connect(self, database: str, agent: str = "strict", **options: object) -> Client:
        return Client(self.gateway.port, database, self.gateway.token(agent), **options)

    def direct(self, database: str) -> Client:
        """Past the gateway, as its role."""
        return Client(self.server.port, database, self.server.password, user=ROLE)

    def sessions(self, names: list[str], agent: str) -> list[Client]:
        for name in names:
            client = self._clients.get((name, agent))
            if client is None or client.closed:
                self._clients[name, agent] = self.connect(name, agent)
        return [self._clients[name, agent] for name in names]

    def sessions_of(self, way: str, names: list[str], agent: str) -> list[Client] | list[McpClient]:
        """As :meth:`sessions`, of the entrance that a way goes by."""
        if way != MCP:
            return self.sessions(names, agent)
        if not self._mcp_clients:
            wait_for(lambda: listens(self.mcp_url))
        for name in names:
            client = self._mcp_clients.get((name, agent))
            if client is None or client.closed:
                token = self.gateway.token(agent)
                self._mcp_clients[name, agent] = McpClient(self.mcp_url, token, name)
        return [self._mcp_clients[name, agent] for name in names]

    def forget(self) -> None:
        """Close what is open: the next statement gets new sessions."""
        for client in (*self._clients.values(), *self._mcp_clients.values()):
            client.close()
        self._clients.clear()
        self._mcp_clients.clear()

    def close(self) -> None:
        self.forget()
        self.databases.close()
        self.gateway.stop()


@contextmanager
def bench(version: str) -> Iterator[Bench]:
    """Everything started, and stopped again."""
    settings = {
        "autovacuum": "off",
        "shared_preload_libraries": "pg_stat_statements",
        "max_connections": "100",
    }
    server = start_server(version, settings)
    try:
        with DevIssuer(CLIENTS, lifetime=24 * 3600.0) as issuer:
            running = Bench(version, issuer, server)
            try:
                yield running
            finally:
                running.close()
    finally:
        server.stop()


class Attacks:
    """The two oracles over attacks. ``worlds``: how many; ``ways``: which. ``approver``: of what
    waits; what it is shown is judged as answers are.
    """

    def __init__(self, stage: Bench, ways: tuple[str, ...] = tuple(WAYS), worlds: int = 5) -> None:
        self.bench, self.ways = stage, ways
        self.approver: Approver | None = None
        self.names = stage.databases.names[:worlds]
        self._said: dict[tuple[str, str, int], str] = {}
        #: how cases ended: refused by the gateway, failed in PostgreSQL, or ran
        self.outcomes: Counter[str] = Counter()

    def run(self, case: Case, agent: str = "strict") -> tuple[list[Finding], bool]:
        """Findings, and whether the gateway refused it every time."""
        builder = case.options.get("as") == "builder"
        if builder:
            return self._ruin(case)
        steps = case.steps(self._value)
        findings: list[Finding] = []
        stopped = True
        for way in self._ways(case):
            outcome = self._once(case, way, steps, agent)
            if outcome.findings and all(finding.what == "differs" for finding in outcome.findings):
                # What a value causes, it causes again. A catalog that was read in the middle of a
                # case does not come again.
                self.bench.forget()
                outcome = self._once(case, way, steps, agent)
            findings += outcome.findings
            stopped = stopped and outcome.stopped
        return findings, stopped

    def _once(self, case: Case, way: str, steps: list[Step], agent: str) -> Outcome:
        """A case in one way, judged and undone."""
        clients = self.bench.sessions_of(way, self.names, agent)
        before = self.bench.databases.next_transaction()
        try:
            answers, wrote = play(clients, steps, WAYS[way])
            judged = behind(self.approver, self.names, answers)
            findings = self._judge(case, way, steps, judged, agent)
            tidy(clients, steps)
            behind(self.approver, self.names, answers)
        except Hang:
            self.bench.forget()
            return Outcome([Finding(case, way, "hang", "no answer")], stopped=True)
        if way == self._ways(case)[0]:
            self._count(answers[0])
        if wrote and not self.bench.databases.are_untouched(before, len(self.names)):
            findings += self._after(case, way, agent)
        return Outcome(findings, stopped=all(oracles.refusals(answer) for answer in answers))

    def _count(self, answer: bytes) -> None:
        refused, failed = oracles.refusals(answer), oracles.sqlstates(answer)
        self.outcomes["refused" if refused else "failed" if failed else "ran"] += 1

    def _ways(self, case: Case) -> tuple[str, ...]:
        return ("simple",) if "simple" in case.options else self.ways

    def _ruining_ways(self, case: Case) -> tuple[str, ...]:
        """For the builder, whose worlds have to be made again after each."""
        return ("simple", "binary")

    def _value(self, table: str, column: str, row: int) -> str:
        key = (table, column, row)
        if key not in self._said:
            self._said[key] = self.bench.databases.value(table, column, row)
        return self._said[key]

    def _judge(
        self, case: Case, way: str, steps: list[Step], answers: list[bytes], agent: str
    ) -> list[Finding]:
        residual = case.options.get("residual", "")
        said = b" ".join(step.sql + (step.data or b"") for step in steps)
        if any("SP1804" in oracles.refusals(answer) for answer in answers):
            evidence = "the gateway failed while judging (SP1804); its log says where"
            return [Finding(case, way, "fault", evidence)]
        equal = [oracles.normalise(answer, self.bench.databases.late_oid) for answer in answers]
        same = all(answer == equal[0] for answer in equal)
        for answer in answers[:1] if same else answers:
            shown = oracles.without_requests(answer)
            canary = self.bench.databases.canaries.found(shown, said)
            if canary is not None:
                return [
                    Finding(
                        case, way, "canary", f"{canary!r} in {oracles.summary(answer)}", residual
                    )
                ]
        if same or agent in SHOWN_SOME or "restless" in case.options:
            return []
        differing = next(answer for answer in equal if answer != equal[0])
        world = equal.index(differing)
        return [
            Finding(
                case,
                way,
                "differs",
                f"world {world}: {oracles.difference(equal[0], differing)}",
                residual,
            )
        ]

    def _after(self, case: Case, way: str, agent: str) -> list[Finding]:
        """Look at the databases, then undo."""
        databases = self.bench.databases
        findings: list[Finding] = []
        states = [databases.state(world) for world in range(len(self.names))]
        residual = case.options.get("residual", "")
        for world, state in enumerate(states):
            for key, value in state.items():
                before = databases.first[world].get(key)
                ours = key.partition(".")[2] in HIDDEN_WRITABLE
                if key[0] == "p":
                    canary = (
                        databases.canaries.found((value or "").encode())
                        if value != before
                        else None
                    )
                    if canary is not None:
                        findings.append(
                            Finding(
                                case, way, "canary", f"{canary!r} is now in {key[2:]}", residual
                            )
                        )
                    elif value != states[0][key] and agent not in SHOWN_SOME:
                        findings.append(
                            Finding(
                                case,
                                way,
                                "differs",
                                f"{key[2:]} after it, in world {world}",
                                residual,
                            )
                        )
                elif value != before and not (ours and key[0] == "m") and key[0] != "s":
                    findings.append(
                        Finding(
                            case,
                            way,
                            "changed",
                            f"{key[2:]}: {value!r:.200}, was {before!r:.200}",
                            residual,
                        )
                    )
                elif key[0] == "s" and value != states[0][key] and agent not in SHOWN_SOME:
                    findings.append(
                        Finding(case, way, "differs", f"sequence {key[2:]} after it", residual)
                    )
            databases.reset(world)
        return findings[:1]

    def _ruin(self, case: Case) -> tuple[list[Finding], bool]:
        """As the builder: in two worlds, with new ones when anything was changed."""
        databases = self.bench.databases
        steps = case.steps(self._value)
        findings: list[Finding] = []
        stopped = True
        for way in self._ruining_ways(case):
            clients = self.bench.sessions(databases.builders, "builder")
            before, answers = databases.next_transaction(), []
            try:
                answers, _ = play(clients, steps, WAYS[way])
                findings += self._judge(case, way, steps, answers, "builder")
                tidy(clients, steps)
            except Hang:
                findings.append(Finding(case, way, "hang", "no answer"))
            stopped = stopped and all(oracles.refusals(answer) for answer in answers)
            if databases.next_transaction() != before:
                for name in databases.builders:
                    self.bench._clients.pop((name, "builder")).close()
                new = databases.rebuild()
                # A relation that the gateway does not know makes it read the catalog again.
                fresh = self.bench.sessions(databases.builders, "builder")
                answers = exchange(
                    fresh, [[frontend.query(f"TABLE {new}".encode())]] * len(fresh), None
                )
                if not all(oracles.tags(answer) for answer in answers):
                    raise RuntimeError(f"the gateway did not find {new}: {answers}")
        return findings, stopped


class Below:
    """The sequences of :mod:`protocol`, in every world at once."""

    def __init__(self, stage: Bench, worlds: int = 5) -> None:
        self.bench, self.names = stage, stage.databases.names[:worlds]
        self._since = stage.databases.next_transaction()

    def run(self, name: str, sequence: protocol.Sequence) -> list[Finding]:
        with ThreadPoolExecutor(len(self.names)) as pool:
            try:
                answers = list(
                    pool.map(lambda database: sequence(_Connect(self.bench, database)), self.names)
                )
            except Hang:
                return [Finding(name, "wire", "hang", "no answer")]
            except (ConnectionError, EOFError) as error:
                return [Finding(name, "wire", "hang", f"{type(error).__name__}: {error}")]
        findings = []
        equal = [oracles.normalise(answer) for answer in answers]
        if canary := next(filter(None, map(self.bench.databases.canaries.found, answers)), None):
            evidence = f"{canary!r} in {oracles.summary(answers[0])}"
            findings.append(Finding(name, "wire", "canary", evidence))
        elif (
            len(set(equal) - {b""}) > 1
        ):  # nothing at all: the connection was reset before it was read
            differing = next(answer for answer in equal if answer != equal[0])
            findings.append(
                Finding(name, "wire", "differs", oracles.difference(equal[0], differing))
            )
        if not self.bench.databases.are_untouched(self._since, len(self.names)):
            findings += self._after(name)
        return findings

    def _after(self, name: str) -> list[Finding]:
        """Look at the databases, then undo. What is written later counts for the next sequence."""
        databases, findings = self.bench.databases, []
        for world in range(len(self.names)):
            state, first = databases.state(world), databases.first[world]
            changed = [
                k for k in state if k[0] != "s" and k != "p.notes" and state[k] != first.get(k)
            ]
            if changed:
                findings.append(Finding(name, "wire", "changed", f"{changed}"))
            databases.reset(world)
        self._since = databases.next_transaction()
        return findings


class _Connect:
    def __init__(self, stage: Bench, database: str) -> None:
        self.bench, self.database, self.token = stage, database, stage.gateway.token("strict")

    def __call__(self, *, login: bool = True) -> Client:
        return Client(self.bench.gateway.port, self.database, self.token, login=login)


def check_protocol(
    stage: Bench, report: Callable[[str], None], garbled: int = 20, worlds: int = 5
) -> Row:
    """Every sequence, and that the gateway still serves afterwards."""
    row, below, started = Row(), Below(stage, worlds), time.monotonic()
    for name, sequence in [*protocol.SEQUENCES.items(), *protocol.garbage(garbled)]:
        findings = below.run(name, sequence)
        row.tried += 1
        row.leaked += bool(findings)
        row.findings += findings
        for finding in findings:
            report(str(finding))
    stage.connect(stage.databases.names[0]).close()
    report(f"protocol: {row.tried} in {time.monotonic() - started:.1f} s")
    return row


_SHOWN = (None, b"[redacted]", b'"[redacted]"', b'\x01"[redacted]"')


class Benign:
    """The same statements through the gateway and past it, in world 0: what comes back must be the
    same, masks aside.
    """

    def __init__(self, stage: Bench) -> None:
        self.bench, self.name = stage, stage.databases.names[0]
        self._direct: Client | None = None

    def run(self, case: Case) -> tuple[list[Finding], bool]:
        findings: list[Finding] = []
        steps = case.steps(self.bench.databases.value)
        for way in self._ways(case, steps):
            if self._direct is None or self._direct.closed:
                self._direct = self.bench.direct(self.name)
            outcomes = []
            for client in (self._direct, self.bench.sessions([self.name], "strict")[0]):
                (answer,), wrote = play([client], steps, PLAIN_WAYS[way])
                state = self.bench.databases.state(0) if wrote else {}
                tidy([client], steps)
                if wrote:
                    self.bench.databases.reset(0)
                outcomes.append((answer, state))
            findings += self._compare(case, way, outcomes)
        return findings[:1], False

    def _ways(self, case: Case, steps: list[Step]) -> tuple[str, ...]:
        """Those in which the case can be sent."""
        if "simple" in case.options:
            return ("simple",)
        is_copy = steps[0].data is not None
        left_out = ["twice"] * (is_copy or len(steps) > 1) + ["pipelined"] * is_copy
        return tuple(way for way in PLAIN_WAYS if way not in left_out)

    def _compare(
        self, case: Case, way: str, outcomes: list[tuple[bytes, dict[str, str]]]
    ) -> list[Finding]:
        (direct, state), (answer, state_behind) = outcomes
        direct, answer = oracles.without_origins(direct), oracles.without_origins(answer)
        same_errors = oracles.sqlstates(answer) == oracles.sqlstates(direct)
        if oracles.refusals(answer) and not same_errors:
            return [Finding(case, way, "refused", oracles.summary(answer))]
        if same_errors:  # in the gateway's words, or withheld
            direct, answer = oracles.without_errors(direct), oracles.without_errors(answer)
        masked = case.options.get("masked", "").split()
        wrong = oracles.masked_difference(direct, answer, masked, _SHOWN) if masked else ""
        if not masked:
            wrong = oracles.difference(oracles.normalise(direct), oracles.normalise(answer))
        if not wrong and any("*" in name for name in masked):
            said = b" ".join(step.sql for step in case.steps(self.bench.databases.value))
            canary = self.bench.databases.canaries.found(answer, said)
            wrong = f"canary {canary!r}" if canary else ""
        if wrong:
            return [Finding(case, way, "answer", f"(direct <> gateway) {wrong}")]
        if state != state_behind:
            keys = [key for key in state if state[key] != state_behind.get(key)]
            return [Finding(case, way, "answer", f"it left other things behind: {keys}")]
        return []


def check(
    title: str,
    cases: list[Case],
    run: Callable[[Case], tuple[list[Finding], bool]],
    report: Callable[[str], None],
) -> dict[str, Row]:
    """Run cases and count them by group. ``report`` hears of each finding at once."""
    rows: dict[str, Row] = {}
    started = time.monotonic()
    for case in cases:
        row = rows.setdefault(case.group, Row())
        findings, stopped = run(case)
        row.tried += 1
        row.stopped += stopped
        if any(finding.residual for finding in findings):
            row.residual += 1
        elif findings:
            row.leaked += 1
        row.findings += findings
        for finding in findings:
            if not finding.residual:
                report(str(finding))
    report(f"{title}: {len(cases)} in {time.monotonic() - started:.1f} s")
    return rows
