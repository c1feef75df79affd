"""``python -m tests.differential``: every statement through the gateway and on the masked copy;
exit 1 on differences.

python -m tests.differential                             everything, PostgreSQL 18 python -m
tests.differential --seed 7 --count 5000       other and more generated statements python -m
tests.differential --pg 14 --only generated    one subject: generated, shop, shopci or a family
python -m tests.differential --refused                   the refused texts as well python -m
tests.differential --only shop --sql "SELECT ..."
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from sallyport.demo.issuer import DevIssuer
from tests.differential.oracle import Statement, Totals
from tests.differential.world import ALL, oracle, statements
from tests.support.postgres import Server, start_server


def main() -> int:
    """Exit status: 1 when any statement differs."""
    options = _options()
    different = 0
    for version in options.pg.split(","):
        server = start_server(version)
        try:
            totals = _one_version(server, options)
        finally:
            server.stop()
        _print(version, totals, options)
        different += len(totals.different)
    return 1 if different else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential",
        epilog=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--pg", default="18", help="versions of PostgreSQL, like 14,18 (18)")
    parser.add_argument("--seed", type=int, default=1, help="of the generated statements (1)")
    parser.add_argument("--count", type=int, default=1500, help="of generated statements (1500)")
    parser.add_argument("--only", default="", help="subjects, comma separated")
    parser.add_argument("--sql", default="", help="one statement in place of all; with --only")
    parser.add_argument("--refused", action="store_true", help="print refused statements")
    parser.add_argument(
        "--undetermined",
        action="store_true",
        help="print statements whose answer depends on the plan",
    )
    return parser.parse_args()


def _one_version(server: Server, options: argparse.Namespace) -> Totals:
    names = options.only.split(",") if options.only else list(ALL)
    with DevIssuer() as issuer, oracle(issuer, server, names) as running:
        for name in names:
            texts = statements(name, server.major, options.seed, options.count)
            running.run([Statement(name, "--sql", options.sql)] if options.sql else texts)
        return running.totals


def _print(version: str, totals: Totals, options: argparse.Namespace) -> None:
    for difference in totals.different:
        print(difference)
    if options.undetermined:
        for statement in totals.undetermined:
            print(f"--- {statement.origin}: undetermined\n{statement.text}")
    if options.refused:
        for code, statement, message in totals.refused_texts:
            print(
                f"--- {statement.origin}: {code}\n{statement.text}\n   "
                f" {message.splitlines()[0] if message else ''}"
            )
    refused = Counter(statement.target for _, statement, _ in totals.refused_texts)
    print(f"refused by subject: {dict(refused)}")
    print(f"PostgreSQL {version}: {totals.line()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
