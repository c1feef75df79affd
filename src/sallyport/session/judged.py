"""What the recording is told of a verdict; of allowed statements it is made once and kept with the
verdict.
"""

from __future__ import annotations

from sallyport.core.errors import Refusal
from sallyport.judge.literals import blanked
from sallyport.judge.subject_judge import SubjectJudge
from sallyport.judge.verdict import Verdict
from sallyport.session.ports import RecordedVerdict


def allowed(subject_judge: SubjectJudge, verdict: Verdict, protocol: str) -> RecordedVerdict:
    """Of a statement that runs, judged in this subject_judge. The same object for the same
    verdict.
    """
    record: RecordedVerdict | None = verdict.records.get(protocol)
    if (
        record is None
        or record.policy_version != subject_judge.policy_version
        or record.epoch != subject_judge.epoch
    ):
        record = verdict.records[protocol] = _recorded(subject_judge, verdict, None, protocol)
    return record


def judged(
    subject_judge: SubjectJudge, verdict: Verdict | None, refusal: Refusal | None, protocol: str
) -> RecordedVerdict:
    """Of any statement. ``refusal``: why it does not run, or waits for an approval."""
    if verdict is not None and refusal is None:
        return allowed(subject_judge, verdict, protocol)
    return _recorded(subject_judge, verdict, refusal, protocol)


def _recorded(
    subject_judge: SubjectJudge, verdict: Verdict | None, refusal: Refusal | None, protocol: str
) -> RecordedVerdict:
    code = "" if refusal is None else refusal.code.id
    return RecordedVerdict(
        outcome="allow" if refusal is None else ("hold" if code == "SP1003" else "deny"),
        rule=_rule(verdict, refusal) if verdict is not None else "",
        code=code,
        policy_version=subject_judge.policy_version,
        epoch=subject_judge.epoch,
        protocol=protocol,
        relations=verdict.relations if verdict is not None else (),
        masked=verdict.masked_columns if verdict is not None and refusal is None else (),
        columns=verdict.columns if verdict is not None else (),
        sent=_sent(subject_judge, verdict)
        if verdict is not None and code in ("", "SP1003")
        else "",
    )


def _sent(subject_judge: SubjectJudge, verdict: Verdict) -> str:
    """The text that runs in the statement's place. Of values that recordings hide, none: where
    masks were written into it, the statement's own constants cannot be told from theirs.
    """
    if not verdict.cuts:
        return ""
    if subject_judge.hides_values:
        return blanked(verdict.sent)
    return verdict.sent.decode("utf-8", "replace")


def _rule(verdict: Verdict, refusal: Refusal | None) -> str:
    """The rule that decided: not the one that would have allowed what the gateway itself
    refuses.
    """
    if refusal is None or verdict.decision is None:
        return verdict.rule
    decided = verdict.decision.refusal
    return verdict.rule if decided is not None and decided.code == refusal.code else ""
