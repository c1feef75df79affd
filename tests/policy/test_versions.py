"""What a new policy changed, line by line."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sallyport.policy.file.load import load_policy
from sallyport.policy.versions import STARTED, diff, unified, version_of

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "", "  x: 1"]), max_size=30).map("\n".join)


@given(TEXTS, TEXTS)
def test_a_difference_leads_from_one_text_to_the_other(before: str, after: str) -> None:
    old, new = before.splitlines(), after.splitlines()
    lines = diff(before, after)
    assert bool(lines) is (old != new)
    for line in lines:
        if line.kind in ("same", "removed"):
            assert old[line.before - 1] == line.text
        if line.kind in ("same", "added"):
            assert new[line.after - 1] == line.text
    removed = {line.before for line in lines if line.kind == "removed"}
    added = {line.after for line in lines if line.kind == "added"}
    kept = [text for number, text in enumerate(old, 1) if number not in removed]
    assert kept == [text for number, text in enumerate(new, 1) if number not in added]


def test_as_text() -> None:
    before = "\n".join(f"line {n}" for n in range(30))
    after = before.replace("line 15", "line fifteen")
    assert (
        unified(diff(before, after))
        == "@@ from line 13\n line 12\n line 13\n line 14\n-line 15\n+line fifteen\n line 16\n line"
        " 17\n line 18\n"
    )


def test_large_texts_are_compared_in_time() -> None:
    before = "\n".join(f"- x{n % 7}" for n in range(30_000))
    assert len(diff(before, before + "\nend")) == 5


def test_what_is_kept_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\npacks: [no-ddl]\n")
    os.utime(path, (5.0, 6.0))
    policy = load_policy(path)
    kept = version_of(policy, STARTED, 7.0)
    assert (kept.version, kept.text, kept.filename) == (policy.version, path.read_text(), str(path))
    assert (kept.loaded, kept.changed, kept.source) == (7.0, 6.0, STARTED)
    assert kept.owner
    path.unlink()
    assert (version_of(policy, STARTED, 7.0).owner, version_of(policy, STARTED, 7.0).changed) == (
        "",
        None,
    )
