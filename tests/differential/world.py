"""The databases of the comparison, their masked copies and the gateway before the originals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import yaml

from sallyport.demo import shop
from sallyport.demo.issuer import DevIssuer
from tests.differential.answers import composite_types
from tests.differential.copies import copy_database, fill_masked
from tests.differential.generate import statements as generated
from tests.differential.oracle import Oracle, Statement
from tests.support.gateway import Gateway
from tests.support.postgres import Server
from tests.workloads.families import (
    FAMILIES,
    all_queries,
    create_database,
    dsn_of,
    merged_policy,
    policy_of,
    schema_text,
)

HERE = Path(__file__).parent
SHOP_POLICY = """\
rules:
  - {name: agents work, subjects: {groups: [claude-postgres]}, allow: [read, write, lock],
     relations: ["public.*"]}
masks:
  - {columns: [public.customers.email], with: email}
  - {columns: [public.customers.ssn], with: {partial: {keep_last: 4}}}
  - {columns: [public.customers.phone, public.customers.card_number, public.payments.card_last4,
     public.customers.notes], with: redact}
  - {columns: [public.customers.birth_date], with: {date: {precision: year}}}
"""


_OWN = {"generated": "", "odd": "odd-"}


@dataclass(frozen=True)
class Subject:
    """A database to compare: the script that makes it, and the policy of its target."""

    name: str
    script: str
    policy: Mapping[str, Any]

    @property
    def original(self) -> str:
        return f"differ_{self.name}"

    @property
    def masked(self) -> str:
        return f"differ_{self.name}_masked"

    @property
    def named(self) -> set[tuple[str, str, str]]:
        """Schema, table and column of each column that the policy masks."""
        names = [name.split(".") for mask in self.policy["masks"] for name in mask["columns"]]
        return {
            (schema, table, column)
            for schema, table, column in (map(_unquoted, name) for name in names)
        }


def subjects(names: Sequence[str]) -> list[Subject]:
    """Of these names: ``generated``, ``odd``, ``shop``, ``shopci`` (the shop with citext) and the
    families of tests/workloads.
    """
    made = {name: (HERE / f"{prefix}schema.sql").read_text() for name, prefix in _OWN.items()}
    made |= {"shop": shop.schema(), "shopci": _citext_shop()}
    policies = {
        name: yaml.safe_load((HERE / f"{prefix}policy.yaml").read_text())
        for name, prefix in _OWN.items()
    }
    policies |= {name: yaml.safe_load(SHOP_POLICY) for name in ("shop", "shopci")}
    return [
        Subject(name, made.get(name) or schema_text(name), policies.get(name) or policy_of(name))
        for name in names
    ]


def _citext_shop() -> str:
    text = shop.schema()
    for before in ("email       text        NOT NULL UNIQUE", "    phone       text,"):
        if before not in text:
            raise ValueError(f"shop.sql has changed: no {before!r}")
        text = text.replace(before, before.replace(" text", " citext", 1))
    return "CREATE EXTENSION citext;\n" + text


def statements(name: str, major: int, seed: int, count: int) -> list[Statement]:
    """All statements for a subject; ``count`` of them, made by ``seed``, for ``generated``."""
    if name == "generated":
        texts = generated(seed, count)
        return [
            Statement(name, f"generated {seed}/{number}", text) for number, text in enumerate(texts)
        ]
    if name in ("shop", "shopci", "odd"):
        lines = _joined((HERE / f"{name.removesuffix('ci')}.sql").read_text())
        return [
            Statement(name, f"{name}:{number}", line.removesuffix(";"))
            for number, line in enumerate(lines, 1)
            if line and not line.startswith("--")
        ]
    return [Statement(name, str(query), query.text) for query in all_queries(major, [name])]


def _unquoted(part: str) -> str:
    """A part of a pattern as the catalog has it."""
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _joined(text: str) -> list[str]:
    """One statement a line: a line without semicolon at its end goes on."""
    return [
        line.replace("\v", "\n") for line in re.sub(r"([^;\n])\n(?=\S)", "\\1\v", text).splitlines()
    ]


ALL = ("generated", "odd", "shop", "shopci", *FAMILIES)


@contextmanager
def oracle(issuer: DevIssuer, server: Server, names: Sequence[str] = ALL) -> Iterator[Oracle]:
    """Everything made and running; an oracle over it."""
    chosen = subjects(names)
    for subject in chosen:
        create_database(server, subject.original, subject.script)
        copy_database(server, subject.original, subject.masked)
    targets = {subject.name: replace(server, database=subject.original) for subject in chosen}
    functions = (
        {"functions": ["public.citext*"]} if "shopci" in names or "generated" in names else {}
    )
    policy = merged_policy({subject.name: {**functions, **subject.policy} for subject in chosen})
    keys = {"mask_keys": {"tokens": {"env": f"{chosen[0].name.upper()}_PASSWORD"}}}
    gateway = Gateway(issuer, targets, policy=policy, tls=server.ca is not None, extra=keys).start()
    try:
        for subject in chosen:
            with psycopg.connect(gateway.dsn(target=subject.name), autocommit=True) as through:
                fill_masked(server, subject.original, subject.masked, through, subject.named)
        masked = {
            subject.name: replace(server, database=subject.masked).agent_dsn for subject in chosen
        }
        composites = {subject.name: _row_types(server, subject) for subject in chosen}
        running = Oracle(
            {subject.name: gateway.dsn(target=subject.name) for subject in chosen},
            masked,
            composites,
        )
        try:
            yield running
        finally:
            running.close()
    finally:
        gateway.stop()


def _row_types(server: Server, subject: Subject) -> dict[int, int]:
    types: dict[int, int] = {}
    for database in (subject.original, subject.masked):
        with psycopg.connect(dsn_of(server, database)) as db:
            types |= composite_types(db)
    return types
