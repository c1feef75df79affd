"""``make attacks``: run the attacks and the benign statements, print the table, exit 1 on any leak."""

from __future__ import annotations

import argparse
import sys

from tests.attacks import cases
from tests.attacks.suite import Attacks, Benign, Row, bench, check


def main() -> int:
    parser = argparse.ArgumentParser(prog="make attacks")
    parser.add_argument("--all", action="store_true", help="PostgreSQL 14, 16 and 18 (default: 18)")
    parser.add_argument("--pg", help="a list of versions, like 14,18")
    parser.add_argument("--only", help="groups or statements that contain this text")
    parser.add_argument("--quick", action="store_true", help="three worlds and two ways")
    options = parser.parse_args()
    versions = ["14", "16", "18"] if options.all else (options.pg or "18").split(",")
    failed = False
    for version in versions:
        print(f"PostgreSQL {version}", flush=True)
        with bench(version) as stage:
            attacks = Attacks(stage, ("simple", "binary"), 3) if options.quick else Attacks(stage)
            chosen = [
                c
                for c in cases.read("attacks", stage.server.major)
                if not options.only or options.only in f"attacks/{c}"
            ]
            good = [
                c
                for c in cases.read("benign", stage.server.major)
                if not options.only or options.only in f"benign/{c}"
            ]
            kept = check("benign", good, Benign(stage).run, lambda line: print(line, flush=True))
            table(kept)
            rows = check("attacks", chosen, attacks.run, lambda line: print(line, flush=True))
        failed = table(rows) or failed
    return 1 if failed else 0


def table(rows: dict[str, Row]) -> bool:
    for group, row in rows.items():
        print(f"{group:28} {row.tried:6} {row.leaked:6} {row.residual:6} {row.stopped:6}")
    return any(row.leaked for row in rows.values())


if __name__ == "__main__":
    sys.exit(main())
