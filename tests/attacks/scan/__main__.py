"""``python -m tests.attacks.scan``: attacks on masks at the scan alone; ``make attacks`` runs them
with all others.

--pg 14,18  --parts sessions,orders,explained,named,catalog,walked,benign  --only TEXT  --depth N
(hostile values per argument)  --every N
"""

from __future__ import annotations

import argparse
import sys

from tests.attacks.scan import run
from tests.attacks.scan.stage import Stage, Tally, stage

PARTS = ("walked", "sessions", "benign", "orders", "explained", "named", "catalog")
_WIDTH = 700


def attack(
    running: Stage, parts: tuple[str, ...] = PARTS, only: str = "", depth: int = 2, every: int = 1
) -> dict[str, Tally]:
    """Every part by name."""

    def tell(line: str) -> None:
        print("\n".join(part[:_WIDTH] for part in line.splitlines()), flush=True)

    tallies: dict[str, Tally] = {}
    for part in parts:
        if part == "catalog":
            tallies[part] = run.catalog(running, tell, depth, every=every, only=only)
        else:
            tallies[part] = getattr(run, part)(running, tell, only=only)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(epilog=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pg", default="18")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--only", default="")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    leaked = 0
    for version in options.pg.split(","):
        print(f"PostgreSQL {version}", flush=True)
        with stage(version) as running:
            tallies = attack(
                running, tuple(options.parts.split(",")), options.only, options.depth, options.every
            )
        for part, tally in tallies.items():
            print(
                f"{version:9} {part:10} {tally};"
                f" {'; '.join(tally.notes) if part == 'catalog' else len(tally.notes)}"
            )
            leaked += len(tally.leaks)
    return 1 if leaked else 0


if __name__ == "__main__":
    sys.exit(main())
