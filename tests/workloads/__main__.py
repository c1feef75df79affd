"""``python -m tests.workloads``: the families' queries through the gateway; refused ones by code,
with their texts.

python -m tests.workloads                          all families, PostgreSQL 18
python -m tests.workloads --pg 14,18 --only tpch   one family, two versions
python -m tests.workloads --direct                 past the gateway: does each query run?
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from sallyport.demo.issuer import DevIssuer
from tests.support.postgres import Server, start_server
from tests.workloads.families import FAMILIES, all_queries, create_family, masked_columns
from tests.workloads.runner import Outcome, family_gateway, run_direct, run_queries

MAX_REFUSED = 2


def main() -> int:
    """Exit status: 1 when more than :data:`MAX_REFUSED` queries were refused or any failed."""
    options = _options()
    families = options.only.split(",") if options.only else list(FAMILIES)
    bad = False
    for version in options.pg.split(","):
        server = start_server(version)
        try:
            outcome = _one_version(server, families, options.direct)
        finally:
            server.stop()
        report(version, families, server.major, outcome, texts=not options.quiet)
        bad |= len(outcome.refused) > MAX_REFUSED or bool(outcome.failed)
    return int(bad)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.workloads", epilog=__doc__)
    parser.add_argument("--pg", default="18", help="versions of PostgreSQL, like 14,18 (18)")
    parser.add_argument("--only", default="", help="families, comma separated")
    parser.add_argument("--direct", action="store_true", help="past the gateway")
    parser.add_argument("--quiet", action="store_true", help="totals, without texts")
    return parser.parse_args()


def _one_version(server: Server, families: list[str], direct: bool) -> Outcome:
    if direct:
        for family in families:
            create_family(server, family)
        return run_direct(server, families)
    with DevIssuer() as issuer, family_gateway(issuer, server, families) as gateway:
        return run_queries(gateway, server.major, families)


def report(version: str, families: list[str], major: int, outcome: Outcome, *, texts: bool) -> None:
    """Print each refused text and the totals."""
    for code, query, message in [*outcome.refused, *outcome.failed] if texts else ():
        print(f"--- {query} {code}\n{query.text}\n    {message.splitlines()[0]}")
    refused = Counter(query.family for _, query, _ in outcome.refused)
    for family in families:
        touching = touching_masks(family, major)
        count = len(all_queries(major, [family]))
        print(
            f"{family:12} {count:4} queries, {touching:4} name masked columns, {refused[family]:4}"
            " refused"
        )
    codes = ", ".join(f"{code} {count}" for code, count in outcome.by_code.most_common()) or "none"
    print(
        f"PostgreSQL {version}: {outcome.answered} answered, {len(outcome.refused)} refused"
        f" ({codes}), {len(outcome.failed)} failed",
        flush=True,
    )


def touching_masks(family: str, major: int) -> int:
    """How many queries name a masked column (by its bare name, which the schemas use for nothing
    else).
    """
    names = {column for _, _, column in masked_columns(family)}
    return sum(bool(names & set(_words(query.text))) for query in all_queries(major, [family]))


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split()


if __name__ == "__main__":
    sys.exit(main())
