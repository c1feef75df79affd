"""One server with the worlds of :mod:`worlds`, a gateway before them, and scripts of several steps
that run in all of them at once.

A step is a statement for the gateway, or begins with ``@``: ``@owner SQL`` runs beside the gateway
as the role that owns everything, ``@wait SECONDS`` lets counters be flushed, ``@fresh`` goes on in
a new session, ``@reset`` sets the counters to zero. What an agent receives must be equal in every
world that is alike to it (:data:`worlds.ALIKE`); where it is not, the script runs again, and only
what differs every time counts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from sallyport.core.secret import Secret
from sallyport.demo.issuer import DemoClient, DevIssuer
from tests.attacks import oracles
from tests.attacks.client import Client, Hang
from tests.attacks.scan.places import HERE
from tests.attacks.scan.worlds import ALIKE, NAMES, ROLE, Databases
from tests.attacks.ways import WAYS
from tests.support.gateway import Gateway
from tests.support.postgres import Server, start_server

AGENTS = (*ALIKE, "hashed")
#: How often something must differ to count.
_PERSISTS = 3
_DATABASE = re.compile(rb"scandb\d")
_WRITING = re.compile(
    rb"^(BEGIN|CREATE|@owner|@reset|INSERT|UPDATE|DELETE|MERGE|SELECT .* INTO )", re.IGNORECASE
)
_CLIENTS = {name: DemoClient(name, Secret("demo"), (name,)) for name in AGENTS}
_SETTINGS = {
    "autovacuum": "off",
    "max_connections": "100",
    "jit": "off",
    "max_parallel_workers": "4",
}


def plain(answer: bytes) -> bytes:
    """An answer without what differs by nature."""
    return _DATABASE.sub(b"scandb#", oracles.normalise(answer))


@dataclass
class Result:
    """What came of one script. ``difference``: between two worlds, empty where they are alike;
    ``restless``: it differed, but not every time.
    """

    answers: list[bytes]
    difference: str = ""
    restless: bool = False

    @property
    def refused(self) -> bool:
        return bool(oracles.refusals(self.answers[0]))

    @property
    def failed(self) -> bool:
        return bool(oracles.sqlstates(self.answers[0]))


@dataclass
class Leak:
    """A finding: where it was found, the statements, and what the worlds answered."""

    version: str
    agent: str
    kind: str
    text: str
    evidence: str

    def __str__(self) -> str:
        return (
            f"LEAK PostgreSQL {self.version}, {self.agent}, {self.kind}: {self.text}\n   "
            f" {self.evidence}"
        )


@dataclass
class Tally:
    """One line of the summary. ``outcomes``: how many ran, failed, were refused."""

    tried: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    leaks: list[Leak] = field(default_factory=list)
    restless: int = 0
    residual: int = 0  # differ as docs/threat-model.md says they may
    notes: list[str] = field(default_factory=list)

    def count(self, result: Result) -> None:
        self.tried += 1
        self.restless += result.restless
        how = "refused" if result.refused else "failed" if result.failed else "ran"
        self.outcomes[how] = self.outcomes.get(how, 0) + 1

    def __str__(self) -> str:
        ended = ", ".join(f"{count} {how}" for how, count in sorted(self.outcomes.items()))
        restless = f", {self.restless} differ by themselves" if self.restless else ""
        residual = f", {self.residual} residual" if self.residual else ""
        return f"{self.tried} tried ({ended}{restless}{residual}), {len(self.leaks)} leaked"


class Stage:
    """The worlds and the gateway. Sessions are kept per world and agent until :meth:`forget`."""

    def __init__(self, version: str, issuer: DevIssuer, server: Server) -> None:
        self.version, self.server = version, server
        self.databases = Databases(server)
        targets = {
            name: Server(version, server.cluster, server.ca, database=name, user=ROLE)
            for name in NAMES
        }
        extra: dict[str, Any] = {
            "mask_keys": {"scan": {"env": "SCANDB0_PASSWORD"}},
            "limits": {"max_sessions_per_subject": 200, "max_sessions": 500},
        }
        self.gateway = Gateway(
            issuer, targets, policy=(HERE / "policy.yaml").read_text(), extra=extra
        )
        self.gateway.start()
        #: Scripts run in the worlds that are compared only: nothing is written and no counter is
        #: looked at.
        self.reading_only = False
        self.direct = False  # go past the gateway, to see what would leak without it
        self._clients: dict[tuple[int, str], Client] = {}
        self._owners: dict[int, psycopg.Connection[Any]] = {}
        self._pool = ThreadPoolExecutor(len(NAMES))

    def client(self, world: int, agent: str) -> Client:
        kept = self._clients.get((world, agent))
        if kept is None or kept.closed:
            if self.direct:
                kept = Client(self.server.port, NAMES[world], self.server.password, user=ROLE)
            else:
                kept = Client(self.gateway.port, NAMES[world], self.gateway.token(agent))
            self._clients[world, agent] = kept
        return kept

    def owner(self, world: int) -> psycopg.Connection[Any]:
        """Beside the gateway, as its role."""
        if world not in self._owners or self._owners[world].closed:
            dsn = self.databases.owner_dsn(NAMES[world])
            self._owners[world] = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        return self._owners[world]

    def forget(self) -> None:
        """Close the agents' sessions: the next script gets new ones."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def close(self) -> None:
        self.forget()
        for connection in self._owners.values():
            connection.close()
        self._pool.shutdown()
        self.gateway.stop()

    def run(
        self,
        steps: Sequence[bytes],
        agent: str,
        way: str = "simple",
        worlds: Sequence[int] | None = None,
    ) -> Result:
        """Run a script in every world, so that all of them go on being alike, and compare those
        that are alike to the agent, or only in ``worlds``. Raises Hang.
        """
        chosen = tuple(worlds if worlds is not None else ALIKE[agent])
        result = self._once(steps, agent, way, chosen)
        for _ in range(_PERSISTS - 1):
            if not result.difference:
                break
            again = self._once(steps, agent, way, chosen)
            if not again.difference:
                return Result(again.answers, "", restless=True)
            result = again
        if result.difference and self._restless(steps, agent, way, chosen[0]):
            return Result(result.answers, "", restless=True)
        return result

    def _restless(self, steps: Sequence[bytes], agent: str, way: str, world: int) -> bool:
        """Whether even one world does not give the same answer twice."""
        if any(_WRITING.search(step) for step in steps):
            return False
        return len({plain(self._play(world, steps, agent, way)) for _ in range(3)}) > 1

    def _once(
        self, steps: Sequence[bytes], agent: str, way: str, worlds: tuple[int, ...]
    ) -> Result:
        played = worlds if self.reading_only else range(len(NAMES))
        kept = dict(
            zip(
                played,
                self._pool.map(lambda world: self._play(world, steps, agent, way), played),
                strict=True,
            )
        )
        answers = [kept[world] for world in worlds]
        equal = [plain(answer) for answer in answers]
        for world, text in zip(worlds, equal, strict=True):
            if text != equal[0]:
                return Result(answers, f"world {world}: {oracles.difference(equal[0], text)}")
        return Result(answers)

    def _play(self, world: int, steps: Sequence[bytes], agent: str, way: str) -> bytes:
        kept = bytearray()
        for step in steps:
            if step.startswith(b"@"):
                self._aside(world, step.decode(), agent)
                continue
            client = self.client(world, agent)
            for part in WAYS[way](step):
                client.send(part)
                kept += client.receive(extended=part[:1] != b"Q")
        client = self.client(world, agent)
        if any(step.upper().startswith(_LASTING) for step in steps):
            for sql in ([b"ROLLBACK"] if client.status != "I" else []) + [b"DISCARD ALL"]:
                client.send(WAYS["simple"](sql)[0])
                client.receive()
        return bytes(kept)

    def _aside(self, world: int, step: str, agent: str) -> None:
        word, _, rest = step.partition(" ")
        if word == "@owner":
            self.owner(world).execute(rest.encode())
        elif word == "@wait":
            time.sleep(float(rest))
        elif word == "@fresh":
            self.client(world, agent).close()
        elif word == "@reset":
            self._reset(world)
        else:
            raise ValueError(f"no such step: {step}")

    def level(self) -> None:
        """Undo what scripts left in the files of tables and in counters, in every world."""
        self.forget()
        for owner in self._owners.values():
            owner.close()
        self.databases.level()

    def _reset(self, world: int) -> None:
        """Counters begin anew: those of sessions before this script are of other agents, which look
        at other worlds.
        """
        for (number, _), client in list(self._clients.items()):
            if number == world:
                client.close()
        time.sleep(1.2 if self.server.major < 15 else 0.4)
        self.owner(world).execute("SELECT pg_stat_reset()")


#: Statements whose effect on a session must not reach the next script.
_LASTING = (
    b"SET",
    b"BEGIN",
    b"PREPARE",
    b"DECLARE",
    b"RESET",
    b"DISCARD",
    b"ROLLBACK",
    b"CREATE",
    b"START",
)


@contextmanager
def stage(version: str) -> Iterator[Stage]:
    """Everything started, and stopped again."""
    server = start_server(version, _SETTINGS)
    try:
        with DevIssuer(_CLIENTS) as issuer:
            running = Stage(version, issuer, server)
            try:
                yield running
            finally:
                running.close()
    finally:
        server.stop()


__all__ = ["AGENTS", "Hang", "Leak", "Result", "Stage", "Tally", "plain", "stage"]
