"""``make attacks``: run the attacks and the benign statements against real servers, print a table,
exit 1 on any leak.

make attacks                                  PostgreSQL 18 make attacks ARGS=--all
PostgreSQL 14, 16 and 18 make attacks ARGS="--generate 5000 --seed 7"  more random queries make
attacks ARGS=--sweep                     and every function, operator and cast over masked columns
make attacks ARGS="--only 'FROM v_people'"    what contains this text, or is in this group make
attacks ARGS="--scan sessions,orders"    of the attacks on masks at the scan only these parts
("none": none)
"""

from __future__ import annotations

import argparse
import sys

from tests.attacks import cases, containment, containment_errors, generate, sweep
from tests.attacks.scan import __main__ as scan
from tests.attacks.scan.stage import Tally
from tests.attacks.scan.stage import stage as scan_stage
from tests.attacks.suite import Attacks, Bench, Benign, Row, bench, check, check_protocol

_WIDTH = 300


def main() -> int:
    options = _options()
    versions = ["14", "16", "18"] if options.all else options.pg.split(",")
    attacks: list[Row] = []
    benign: list[Row] = []
    scanned: dict[str, Tally] = {}
    escaped = 0
    for version in versions:
        print(f"PostgreSQL {version}", flush=True)
        with bench(version) as stage:
            tried, harmless = _one_version(stage, options)
        attacks += tried
        benign += harmless
        escaped += _containment(version, options.only)
        scanned |= {f"{version} {part}": tally for part, tally in _scan(version, options).items()}
    leaked = sum(row.leaked for row in attacks)
    print(
        f"attacks: {sum(row.tried for row in attacks)} tried, {leaked} leaked; benign:"
        f" {sum(row.tried for row in benign)} tried, {sum(row.leaked for row in benign)} wrongly"
        " refused"
    )
    for part, tally in scanned.items():
        print(f"masks at the scan, {part}: {tally}")
    return 1 if leaked or escaped or any(tally.leaks for tally in scanned.values()) else 0


def _containment(version: str, only: str) -> int:
    """The attacks on containment, which have databases of their own: how many escaped."""
    if only not in ("", "containment"):
        return 0
    with containment.containment_bench(version) as running:
        parts = (*containment.ATTACKS, *containment_errors.ATTACKS, containment.benign)
        leaks = [leak for part in parts for leak in part(running)]
    for leak in leaks:
        _tell(str(leak))
    reads = len(containment.READS) * len(containment.WAYS) + len(containment.SEQUENCES)
    print(f"containment: {reads} reads, {len(leaks)} escaped or wrongly contained", flush=True)
    return len(leaks)


def _scan(version: str, options: argparse.Namespace) -> dict[str, Tally]:
    """The attacks on masks at the scan, which have databases of their own."""
    if options.scan == "none":
        return {}
    with scan_stage(version) as running:
        every = 25 if options.quick else 1
        return scan.attack(running, tuple(options.scan.split(",")), options.only, every=every)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make attacks", epilog=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="PostgreSQL 14, 16 and 18")
    parser.add_argument("--pg", default="18", help="versions, like 14,18 (18)")
    parser.add_argument("--only", default="", help="only what contains this text")
    parser.add_argument("--quick", action="store_true", help="three worlds and two ways")
    parser.add_argument(
        "--generate", type=int, default=150, metavar="N", help="random queries (150)"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="every function, operator and cast over masked columns"
    )
    parser.add_argument(
        "--scan",
        default=",".join(scan.PARTS),
        metavar="PARTS",
        help="parts of the attacks on masks at the scan",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random queries (1)")
    return parser.parse_args()


def _one_version(stage: Bench, options: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    """The rows of the attacks and of the benign statements, printed."""
    major, only = stage.server.major, options.only
    chosen = {
        folder: [c for c in cases.read(folder, major) if only in f"{folder}/{c}"]
        for folder in ("attacks", "benign")
    }
    attack = Attacks(stage, ("simple", "binary"), 3) if options.quick else Attacks(stage)
    rows = check("attacks", chosen["attacks"], attack.run, _tell)
    if only in ("", "protocol"):
        rows["10-protocol"] = check_protocol(stage, _tell)
    if only in ("", "generated"):
        made = list(generate.queries(options.seed, options.generate, major))
        random = Attacks(stage, ("simple", "binary"), 5)
        rows |= check("generated", made, random.run, _tell)
        ended = ", ".join(
            f"{count * 100 // max(len(made), 1)} % {how}"
            for how, count in random.outcomes.most_common()
        )
        print(f"generated: {ended}", flush=True)
    if options.sweep and only in ("", "sweep"):
        calls = sweep.calls(stage.databases.direct(stage.databases.names[0]))
        rows |= check("sweep", calls, Attacks(stage).run, _tell)
    harmless = check("benign", chosen["benign"], Benign(stage).run, _tell)
    print(
        f"{'group':28} {'tried':>7} {'leaked':>7} {'residual':>9} {'refused in every way':>21}"
        f" {'wrongly refused':>16}"
    )
    for group, row in rows.items():
        print(f"{group:28} {row.tried:7} {row.leaked:7} {row.residual:9} {row.stopped:21}")
    for group, row in harmless.items():
        print(f"{'benign ' + group:28} {row.tried:7} {'':7} {'':9} {'':21} {row.leaked:16}")
    return list(rows.values()), list(harmless.values())


def _tell(line: str) -> None:
    print("\n".join(part[:_WIDTH] for part in line.splitlines()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
