"""``make attacks``: run the attacks and the benign statements, print the table, exit 1 on any leak."""

from __future__ import annotations

import argparse
import sys

from tests.attacks import cases, generate
from tests.attacks.suite import Attacks, Benign, Row, bench, check, check_protocol


def main() -> int:
    parser = argparse.ArgumentParser(prog="make attacks")
    parser.add_argument("--all", action="store_true", help="PostgreSQL 14, 16 and 18 (default: 18)")
    parser.add_argument("--pg", help="a list of versions, like 14,18")
    parser.add_argument("--only", help="groups or statements that contain this text")
    parser.add_argument("--quick", action="store_true", help="three worlds and two ways")
    parser.add_argument("--generate", type=int, default=150, metavar="N", help="random queries (150)")
    parser.add_argument("--seed", type=int, default=1, help="of the random queries")
    options = parser.parse_args()
    versions = ["14", "16", "18"] if options.all else (options.pg or "18").split(",")
    failed = False
    for version in versions:
        print(f"PostgreSQL {version}", flush=True)
        with bench(version) as stage:
            attacks = Attacks(stage, ("simple", "binary"), 3) if options.quick else Attacks(stage)
            if not options.only or options.only == "protocol":
                table({"10-protocol": check_protocol(stage, lambda line: print(line, flush=True))})
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
            if not options.only or options.only == "generated":
                made = list(generate.queries(options.seed, options.generate, stage.server.major))
                few = Attacks(stage, ("simple", "binary"), 5)
                failed = (
                    table(check("generated", made, few.run, lambda line: print(line, flush=True))) or failed
                )
    return 1 if failed else 0


def table(rows: dict[str, Row]) -> bool:
    for group, row in rows.items():
        print(f"{group:28} {row.tried:6} {row.leaked:6} {row.residual:6} {row.stopped:6}")
    return any(row.leaked for row in rows.values())


if __name__ == "__main__":
    sys.exit(main())
