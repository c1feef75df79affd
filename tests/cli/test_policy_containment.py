"""``sallyport policy check | explain | test`` of a policy that contains readers of columns."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_policy import Run, catalog, home, run

__all__ = ["catalog", "home", "run"]


CONTAINING = """version: 1
untrusted: ["public.customers.notes", "public.nowhere.text"]
contain: {writes: hold, reviewers: {groups: [dba]}, masks: redact}
rules: [{name: all, allow: [all], relations: ["public.*"]}]
masks: [{columns: ["public.customers.email"], with: email}]
"""


def test_explain_and_test_know_containment(run: Run, home: Path) -> None:
    (home / "policy.yaml").write_text(CONTAINING)
    assert "untrusted: public.nowhere.text matches nothing in target shop" in run("check").output
    delete = "DELETE FROM orders WHERE id = 1"
    assert run("explain", "--as", "agents", delete).stdout.startswith("ALLOW")
    held = run("explain", "--as", "agents", "--contained", delete).stdout
    assert held.startswith("HOLD by rule 'contain: writes'"), held
    assert "the untrusted column public.customers.notes" in held
    shown = run("explain", "--as", "agents", "--contained", "SELECT email FROM customers").output
    assert "redacted by containment" in shown
    tests = [
        {"subject": "agents", "sql": delete, "verdict": "hold", "contained": True},
        {"subject": "agents", "sql": delete, "verdict": "allow"},
    ]
    (home / "e.yaml").write_text(json.dumps({"tests": tests}))
    result = run("test", "e.yaml")
    assert result.exit_code == 0, result.output
