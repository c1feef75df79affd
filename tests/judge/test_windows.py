"""Access windows and other conditions on the time, for sessions that last longer than they do."""

from __future__ import annotations

from dataclasses import replace

from sallyport.core.subject import Subject
from sallyport.judge import Judge
from sallyport.policy.file.load import parse_policy
from sallyport.session.name_context import NameContext
from sallyport.sql.catalog.snapshot import CatalogSnapshot
from tests import test_judge
from tests.test_judge import POLICY

catalog, facts_dsn = test_judge.catalog, test_judge.facts_dsn  # fixtures


def test_windows_close_for_sessions_that_judge_by_a_catalog_of_their_own(
    catalog: CatalogSnapshot,
) -> None:
    """With temporary objects a session is judged beside the judge of all, which keeps the time."""
    timed = POLICY.replace(
        "rules:", "rules:\n  - name: timed\n    deny: [delete]\n    when: now.getHours() < 25\n", 1
    )
    now = [0.0]
    policy, own = parse_policy(timed, "p"), replace(catalog, epoch="own")
    judge = Judge("shop", policy, own, {}, max_statement_bytes=1 << 20, now=lambda: now[0])
    subject = Subject("agent", "https://idp.test", frozenset())
    names = NameContext(subject, judge, ("public",))
    names.temporary_judge = judge.beside(replace(catalog, epoch="temporary"))
    for _ in range(3):
        names.bind()
        before = judge.generation
        now[0] += 5.0
        judge.tick()
        assert judge.generation > before
