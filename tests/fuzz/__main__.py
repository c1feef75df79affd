"""``make fuzz``: say anything to the gateway, as a client and as a server, for as long as you like.

make fuzz                                        one minute
make fuzz ARGS="--minutes 600"                   ten hours
make fuzz ARGS="--only client --seed 7"          client | server | properties
make fuzz ARGS="--only server --seed 7 --input 41"  one input again

``properties`` are the tests of tests/session/test_fuzz.py, tests/session/test_login.py and
tests/wire, with new random examples in each round. Exit status 1, with what is needed to repeat it,
when something happened that must not.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.stage import FuzzError, FuzzStage, fuzz_stage
from tests.support.places import ROOT

BATCH = 100
_AT_ONCE = 8
_SLICE = 10.0
_PROPERTIES = ("tests/session/test_fuzz.py", "tests/session/test_login.py", "tests/wire")
_SIDES = ("client", "server")


class Run:
    """One run: counts, progress, the end."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.deadline = time.monotonic() + options.minutes * 60
        self.began = time.monotonic()
        self.counts = {"client": 0, "server": 0, "properties": 0}

    def over(self) -> bool:
        return time.monotonic() >= self.deadline

    def say(self, stage: FuzzStage | None) -> None:
        counts = ", ".join(f"{side} {count}" for side, count in self.counts.items() if count)
        line = f"[{time.monotonic() - self.began:7.0f} s] {counts}"
        if stage is not None and stage.latencies:
            slowest, stage.latencies = max(stage.latencies), []
            line += (
                f"; honest login and query at most {slowest * 1000:.0f} ms; gateway"
                f" {stage.gateway.rss() >> 20} MiB"
            )
        print(line, flush=True)

    def sides(self, stage: FuzzStage) -> None:
        """A slice of inputs of each side that is wanted. Raises FuzzError."""
        for side in _SIDES:
            if self.options.only not in ("", side):
                continue
            until = min(self.deadline, time.monotonic() + _SLICE)
            while time.monotonic() < until:
                run_inputs(stage, side, self.counts[side], BATCH)
                self.counts[side] += BATCH

    def properties(self) -> bool:
        """One round with another seed; False when a test failed, which pytest has said."""
        seed = self.options.seed + self.counts["properties"]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-p",
            "no:cacheprovider",
            "--thorough",
            f"--hypothesis-seed={seed}",
        ]
        command += [str(ROOT / part) for part in _PROPERTIES]
        swarm = {"SALLYPORT_FUZZ_SEED": str(8 * seed)}
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | swarm, capture_output=True, text=True, check=False
        )
        self.counts["properties"] += 1
        if done.returncode != 0:
            said = " ".join(f"{name}={value}" for name, value in swarm.items())
            print(f"{done.stdout[-20_000:]}\nRepeat it: {said} {' '.join(command)}", flush=True)
        return done.returncode == 0


def run_inputs(stage: FuzzStage, side: str, first: int, count: int) -> None:
    """Some at once, for most of an input's time is waiting; then the gateway is looked at. Raises
    FuzzError.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [
            pool.submit(run_input, stage, side, number) for number in range(first, first + count)
        ]:
            done.result()
    stage.check()


def run_input(stage: FuzzStage, side: str, number: int) -> None:
    """Raises FuzzError, which says how to repeat it."""
    try:
        (stage.client_input if side == "client" else stage.server_input)(number)
    except FuzzError as error:
        raise FuzzError(
            f'{error}\nRepeat it: make fuzz ARGS="--only {side} --seed {stage.seed} --input'
            f' {number}"'
        ) from None


def main() -> int:
    options = _options()
    print(f"seed {options.seed}", flush=True)
    run = Run(options)
    try:
        if options.only == "properties":
            while not run.over():
                if not run.properties():
                    return 1
                run.say(None)
            return 0
        with fuzz_stage(options.seed) as stage:
            return _fuzz(run, stage)
    except FuzzError as error:
        print(f"FAILED: {error}", flush=True)
        return 1


def _fuzz(run: Run, stage: FuzzStage) -> int:
    if run.options.input is not None:
        run_input(stage, run.options.only, run.options.input)
        stage.check()
        return 0
    while not run.over():
        run.sides(stage)
        run.say(stage)
        if not run.options.only and not run.over():
            if not run.properties():
                return 1
            run.say(stage)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make fuzz", epilog=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 30), help="of all inputs"
    )
    parser.add_argument("--only", choices=(*_SIDES, "properties"), default="", help="nothing else")
    parser.add_argument("--input", type=int, help="this input alone; with --only client or server")
    options = parser.parse_args()
    if options.input is not None and options.only not in _SIDES:
        parser.error("--input needs --only client or --only server")
    return options


if __name__ == "__main__":
    sys.path.insert(0, str(Path(ROOT)))
    sys.exit(main())
