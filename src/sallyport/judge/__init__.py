"""The one door: statement text -> facts -> decision -> mask plan -> :class:`Verdict`, and the cache
of verdicts.

A :class:`Judge` serves one target. It holds the current catalog snapshot and bound policy;
``generation`` moves whenever either changed. A :class:`SubjectJudge` is the judge as one kind of
session sees it (a subject's rule set and masks, and a search_path): everything a verdict depends on
besides the text is fixed in it, so that its cache is keyed by the exact text alone. Sessions that
share subject rules and search_path share the view.

A permit (:mod:`sallyport.judge.permit`) is the proof of a verdict that lets a statement go: what
writes to a target takes one.

Fails closed: whatever cannot be parsed, resolved or decided comes back as a refusal; an unexpected
error is SP1804, logged.
"""

from sallyport.judge.containments import Containments, ContainmentStore, UntrustedRead
from sallyport.judge.judge import Judge
from sallyport.judge.literals import blanked
from sallyport.judge.permit import ParsePermit, RunPermit, permit_approved
from sallyport.judge.subject_judge import SubjectJudge, fault
from sallyport.judge.verdict import (
    AFTER_DDL,
    AFTER_SEARCH_PATH,
    AFTER_UNKNOWN_CODE,
    Part,
    ScannedColumn,
    ScriptVerdict,
    Verdict,
    internal_refusal,
)

__all__ = [
    "AFTER_DDL",
    "AFTER_SEARCH_PATH",
    "AFTER_UNKNOWN_CODE",
    "ContainmentStore",
    "Containments",
    "Judge",
    "ParsePermit",
    "Part",
    "RunPermit",
    "ScannedColumn",
    "ScriptVerdict",
    "SubjectJudge",
    "UntrustedRead",
    "Verdict",
    "blanked",
    "fault",
    "internal_refusal",
    "permit_approved",
]
