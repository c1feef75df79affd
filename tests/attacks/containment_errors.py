"""Attacks on containment by lineage: errors that quote untrusted text, and names that move between
a read's preparation and its run. As :mod:`tests.attacks.containment`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from sallyport.wire import frontend as f
from tests.attacks import oracles
from tests.attacks.containment import WAYS, WRITE, ContainmentBench, Leak, Part, contained, simple


def attack_what_moved(bench: ContainmentBench) -> Iterator[Leak]:
    """What was prepared reads something else by now."""
    define = "CREATE OR REPLACE VIEW v_moves AS SELECT {}"
    definer, client = bench.connect(bench.identity()), bench.connect(bench.identity())
    simple(definer, define.format("note AS text FROM people"))
    simple(client, "PREPARE q AS SELECT text FROM v_moves")
    simple(definer, define.format("body AS text FROM tickets"))
    deadline, is_known = time.monotonic() + 20, False
    while not is_known and time.monotonic() < deadline:
        third = bench.connect(bench.identity())
        simple(third, "SELECT text FROM v_moves")
        is_known = contained(simple(third, WRITE))
        third.close()
    client.send(f.query(f"EXECUTE q; {WRITE}".encode()))
    answer = client.receive()
    if not is_known or b"Ignore" not in answer or not contained(answer):
        yield Leak("prepared before the view moved", oracles.summary(answer))
    client.close()
    definer.close()


#: Writes that read nothing untrusted, and violate a constraint over rows that hold it.
VIOLATIONS: Mapping[str, str] = {
    "not null": "UPDATE senders SET rank = NULL WHERE id = 1",
    "check": "UPDATE senders SET rank = -1 WHERE id = 1",
    "check option": "UPDATE v_senders SET rank = 10 WHERE id = 1",
    "referenced": "DELETE FROM senders WHERE id = 1",
    "key with an expression": "UPDATE senders SET rank = 1 WHERE id = 2",
    "merge": "MERGE INTO senders s USING (VALUES (1)) v (i) ON s.id = v.i"
    " WHEN MATCHED THEN UPDATE SET rank = NULL",
    "deferred": "BEGIN; SET CONSTRAINTS ALL DEFERRED; DELETE FROM senders WHERE id = 1; COMMIT",
}


def attack_errors(bench: ContainmentBench) -> Iterator[Leak]:
    """Errors of such writes quote no row and no key, since they contain nobody."""
    client = bench.connect(bench.identity())
    for name, sql in VIOLATIONS.items():
        for way in ("simple",) if ";" in sql else WAYS:
            answer = WAYS[way](client, sql)
            if b"Ignore" in answer or b"The values are withheld" not in answer:
                yield Leak(f"{name} [{way}]", oracles.summary(answer))
    if contained(simple(client, WRITE)):
        yield Leak("benign violations", "they contain")
    answer = simple(client, "INSERT INTO senders VALUES (1, 'new', 3)")
    if b"Key (id)=(1) already exists" not in answer:
        yield Leak("benign key", oracles.summary(answer))
    client.close()


ATTACKS: tuple[Part, ...] = (attack_what_moved, attack_errors)
