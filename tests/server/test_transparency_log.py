"""The log of a real gateway: a session ends, a checkpoint appears, anybody can check its proof."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from sallyport.audit.tlog.notes import SigningKey, split_notes
from sallyport.demo.postgres import free_port
from tests.support.forked import run as run_command
from tests.support.gateway import Gateway
from tests.support.waiting import wait_for

MakeGateway = Callable[..., Gateway]


def run(gateway: Gateway, *words: str, config: bool = True) -> subprocess.CompletedProcess[str]:
    command = gateway.command(*words)
    return run_command(command if config else command[: 1 + len(words)], gateway.environment)


def session(gateway: Gateway, statement: str = "SELECT count(*) FROM products") -> None:
    with psycopg.connect(gateway.dsn()) as connection:
        connection.execute(statement).fetchall()


def log_of(gateway: Gateway) -> Path:
    return gateway.home / "var" / "recordings" / "log"


def size_of(gateway: Gateway) -> int:
    return int((log_of(gateway) / "checkpoint").read_text().splitlines()[1])


def wait_for_checkpoint(gateway: Gateway, size: int) -> None:
    deadline = time.monotonic() + 20
    while size_of(gateway) < size:
        assert time.monotonic() < deadline, f"no checkpoint of {size}: {gateway.output()[-2000:]}"
        time.sleep(0.05)


def assert_proven(gateway: Gateway, row: dict[str, Any], key: str, proof: Path) -> None:
    assert run(gateway, "audit", "prove", row["id"], "-o", str(proof)).returncode == 0
    checked = run(gateway, "audit", "check-proof", str(proof), "--key", key, config=False)
    assert row["last_hash"] in checked.stdout and row["status"] in checked.stdout


def test_a_session_is_proven(make_gateway: MakeGateway, tmp_path: Path) -> None:
    gateway = make_gateway(extra={"audit": {"checkpoint_seconds": 0.3}})
    session(gateway)
    wait_for_checkpoint(gateway, 2)  # the log's beginning, and the session
    key = run(gateway, "audit", "key").stdout.strip()
    [row] = wait_for(lambda: json.loads(run(gateway, "sessions", "list", "--json").stdout))
    proof = tmp_path / "session.tlog-proof"
    made = run(gateway, "audit", "prove", row["id"], "-o", str(proof))
    assert made.returncode == 0, made.stderr

    # Anybody: no configuration, no data directory.
    checked = run(gateway, "audit", "check-proof", str(proof), "--key", key, config=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(text in checked.stdout for text in ("OK", row["id"], row["last_hash"]))
    forged = tmp_path / "forged"
    forged.write_text(proof.read_text().replace("index 1\n", "index 0\n"))
    refused = run(gateway, "audit", "check-proof", str(forged), "--key", key, config=False)
    assert refused.returncode == 1 and "FAILED" in refused.stdout

    # The recording itself against the proof.
    [recording] = (gateway.home / "var" / "recordings").glob("????/??/??/ses_*.sprec")
    words = ("audit", "check-proof", str(proof), "--key", key, "--recording")
    assert run(gateway, *words, str(recording), config=False).returncode == 0
    copy = Path(shutil.copy(recording, tmp_path))  # handed over without its key
    assert run(gateway, *words, str(copy), config=False).returncode == 0
    copy.write_bytes(copy.read_bytes()[:-1])
    assert run(gateway, *words, str(copy), config=False).returncode == 1


def test_the_log_goes_on(make_gateway: MakeGateway, tmp_path: Path) -> None:
    witness, old = tmp_path / "witnessed", tmp_path / "old"
    gateway = make_gateway(
        extra={"audit": {"checkpoint_seconds": 0.3, "witnesses": [{"file": str(witness)}]}}
    )
    session(gateway)
    wait_for_checkpoint(gateway, 2)
    key = run(gateway, "audit", "key").stdout.strip()
    # Beside the running gateway, with the witness.
    verified = run(gateway, "audit", "verify", "--key", key, "--checkpoint", str(witness))
    assert verified.returncode == 0, verified.stdout
    assert "log  OK" in verified.stdout
    old = tmp_path / "old"
    shutil.copy(log_of(gateway) / "checkpoint", old)
    session(gateway)
    wait_for_checkpoint(gateway, 3)
    consistent = run(
        gateway, "audit", "consistency", str(old), str(log_of(gateway) / "checkpoint"), "--key", key
    )
    assert consistent.returncode == 0 and "begins with" in consistent.stdout, consistent.stderr
    session(gateway)
    gateway.stop()
    # At shutdown everything is under a checkpoint, and the witness has it.
    assert size_of(gateway) == 4
    assert not run(
        gateway,
        "audit",
        "verify",
        "--key",
        key,
        "--checkpoint",
        str(witness),
    ).returncode
    assert witness.read_text().count("\n4\n") == 1


def test_tampering_is_named(make_gateway: MakeGateway, tmp_path: Path) -> None:
    gateway = make_gateway(extra={"audit": {"checkpoint_seconds": 0.3}})
    for _ in range(3):
        session(gateway)
    wait_for_checkpoint(gateway, 4)
    key = run(gateway, "audit", "key").stdout.strip()
    gateway.stop()
    recordings = gateway.home / "var" / "recordings"
    kept = tmp_path / "kept"
    shutil.copytree(recordings, kept)
    first = sorted(recordings.glob("????/??/??/ses_*.sprec"))[0]

    first.unlink()
    report = run(gateway, "audit", "verify", "--key", key)
    assert report.returncode == 1 and "deletion" in report.stdout
    shutil.move(gateway.home / "var" / "sallyport.db", tmp_path / "db")
    report = run(gateway, "audit", "verify", "--key", key)
    assert "the log has this session" in report.stdout
    shutil.move(tmp_path / "db", gateway.home / "var" / "sallyport.db")
    shutil.copytree(kept, recordings, dirs_exist_ok=True)
    assert not run(gateway, "audit", "verify", "--key", key).returncode
    shutil.rmtree(recordings / "log")
    report = run(gateway, "audit", "verify")
    assert report.returncode == 1 and "log  FAILED" in report.stdout
    # What was removed is not begun again by itself; the gateway serves, and says so.
    gateway.start()
    session(gateway)
    assert "the log of recordings is not continued" in gateway.output()
    gateway.stop()
    assert run(gateway, "audit", "new-log").returncode == 0
    gateway.start()
    gateway.stop()
    report = run(gateway, "audit", "verify")
    assert report.returncode == 0, report.stdout
    report = run(gateway, "audit", "verify", "--key", key)
    assert report.returncode == 1 and "wrong key" in report.stdout


def test_witnesses_that_fail_stop_nothing(make_gateway: MakeGateway, tmp_path: Path) -> None:
    console = free_port()
    blocked = tmp_path / "no such directory" / "checkpoints"
    gateway = make_gateway(
        extra={
            "console": {"listen": f"127.0.0.1:{console}"},
            "audit": {
                "checkpoint_seconds": 0.1,
                "witnesses": [{"file": str(blocked)}, {"syslog": f"tcp://127.0.0.1:{free_port()}"}],
            },
        }
    )

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{console}{path}", timeout=60) as answer:
            return answer.read().decode()

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", console)) == 0

    wait_for(listens)
    session(gateway)
    wait_for_checkpoint(gateway, 2)
    wait_for(lambda: "witness 1" in get("/readyz") and "witness 2" in get("/readyz"))
    assert get("/readyz").startswith("ok\nwarning: ")
    session(gateway)
    metrics = get("/metrics")
    assert "sallyport_log_entries " in metrics and "sallyport_log_problem 0" in metrics
    failures = re.findall(r'sallyport_witness_failures_total\{witness="(.*?)"\} (\d)', metrics)
    assert len(failures) == 2 and all(count != "0" for _, count in failures), metrics
    blocked.parent.mkdir()
    wait_for(lambda: "witness 1" not in get("/readyz"))
    assert blocked.exists()


def test_killed_again_and_again(make_gateway: MakeGateway, tmp_path: Path) -> None:
    witness = tmp_path / "witnessed"
    gateway = make_gateway(
        extra={"audit": {"checkpoint_seconds": 0.05, "witnesses": [{"file": str(witness)}]}}
    )
    for round_ in range(6):
        connection = psycopg.connect(gateway.dsn(), autocommit=True)
        connection.execute("SELECT 1").fetchall()
        for _ in range(3 + round_):
            session(gateway)
        time.sleep(0.02 * round_)
        gateway.kill()
        connection.close()
        gateway.start()
    gateway.stop()
    report = run(gateway, "audit", "verify", "--checkpoint", str(witness))
    assert report.returncode == 0, report.stdout
    rows = json.loads(run(gateway, "sessions", "list", "--json", "--limit", "0").stdout)
    interrupted = [row for row in rows if row["status"] == "interrupted"]
    # what was killed before its first write is in neither
    assert len(interrupted) >= 5 and len(rows) >= 15, rows
    key = run(gateway, "audit", "key").stdout.strip()
    for row in (*interrupted[:2], rows[0], rows[-1]):
        assert_proven(gateway, row, key, tmp_path / row["id"])
    bodies = {tuple(note.splitlines()[:3]) for note in split_notes(witness.read_text())}
    sizes = [body[1] for body in bodies]
    assert len(sizes) > 6 and len(sizes) == len(set(sizes)), "two checkpoints of one size"


def test_another_gateway_cosigns(make_gateway: MakeGateway, tmp_path: Path) -> None:
    first = make_gateway()
    key = run(first, "audit", "key").stdout.strip()
    first.stop()
    console = free_port()
    second = make_gateway(
        extra={"console": {"listen": f"127.0.0.1:{console}"}, "audit": {"cosign": [key]}},
    )
    cosigner = run(second, "audit", "key", "--cosigner").stdout.strip()
    witness = {"cosigner": f"http://127.0.0.1:{console}/witness", "key": cosigner}
    first.extra = {"audit": {"checkpoint_seconds": 0.2, "witnesses": [witness]}}
    first.start()
    session(first)
    wait_for(lambda: "sallyport-witness/" in (log_of(first) / "checkpoint").read_text())
    [row] = wait_for(lambda: json.loads(run(first, "sessions", "list", "--json").stdout))
    proof = tmp_path / "proof"
    assert run(first, "audit", "prove", row["id"], "-o", str(proof)).returncode == 0
    words = ("audit", "check-proof", str(proof), "--key", key, "--cosigner")
    assert run(first, *words, cosigner, config=False).returncode == 0
    strange = SigningKey.generate("strange").cosigner("strange").public
    refused = run(first, *words, str(strange), config=False)
    assert refused.returncode == 1 and "not by strange" in refused.stdout
    # The directory is put back to before that session: the cosigner will have none of it.
    first.stop()
    backup = tmp_path / "backup"
    shutil.copytree(log_of(first), backup)
    first.start()
    session(first)
    wait_for_checkpoint(first, 3)
    wait_for(lambda: (log_of(first) / "checkpoint").read_text().count("sallyport-witness/") == 1)
    first.stop()
    shutil.rmtree(log_of(first))
    shutil.copytree(backup, log_of(first))
    first.start()
    session(first)
    wait_for(lambda: "has cosigned" in first.output())
    first.stop()
