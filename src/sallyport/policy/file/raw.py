"""The shape of a policy file, key by key. Unknown keys are errors.
:mod:`sallyport.policy.file.load` gives the values meaning.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class RawSubjects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is meant: every key that is given has to fit, and of its list one entry."""

    groups: list[str] | None = None
    ids: list[str] | None = None
    issuer: str | list[str] | None = None
    agent: str | list[str] | None = None
    actor: str | list[str] | None = None
    claims: dict[str, Any] | None = None


class RawReviewers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may decide, and how many of them have to agree."""

    groups: list[str]
    quorum: int = 1


class RawWindow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a rule is in force: from ``from`` to ``to``, as HH:MM, on these days."""

    from_: str = msgspec.field(name="from")
    to: str
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None = None
    timezone: str = "UTC"


class RawRuleRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is recorded of results that a rule gives."""

    results: Literal["full", "sample", "counts"]


class RawRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What subjects may do with which relations and columns."""

    name: str
    subjects: RawSubjects | None = None
    targets: list[str] | None = None
    allow: list[str] | None = None
    hold: list[str] | None = None
    deny: list[str] | None = None
    relations: list[str] | None = None
    columns: list[str] | None = None
    tags: list[str] | None = None
    when: str | None = None
    message: str = ""
    reviewers: RawReviewers | None = None
    expires: str | int | None = None
    mode: Literal["wait", "async"] | None = None
    window: RawWindow | list[RawWindow] | None = None
    record: RawRuleRecord | None = None


class RawEquality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``filter`` written as a mapping."""

    equality: Literal["joins"]


class RawMask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which columns are masked with what, for whom, and what may be asked about them."""

    with_: str | dict[str, Any] | None = msgspec.field(name="with")
    tags: list[str] | None = None
    columns: list[str] | None = None
    filter: (
        Literal["masked", "deny", "equality", "equality: joins", "allow"]
        | RawEquality
        | msgspec.UnsetType
    ) = msgspec.UNSET
    write_filter: Literal["deny", "masked"] = "deny"
    write: Literal["deny", "allow"] = "deny"
    copies: Literal["deny", "masked"] = "deny"
    except_: RawSubjects | None = msgspec.field(name="except", default=None)
    subjects: RawSubjects | None = None
    targets: list[str] | None = None


class RawLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much subjects may read, for how long and how often."""

    subjects: RawSubjects | None = None
    targets: list[str] | None = None
    rows: int | None = None
    bytes: int | None = None
    rows_per_session: int | None = None
    bytes_per_session: int | None = None
    rows_per_hour: int | None = None
    bytes_per_hour: int | None = None
    statement_timeout: str | int | None = None
    sessions: int | None = None
    session: str | int | None = None


class RawRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is recorded of texts, and of results where no rule says it."""

    statements: Literal["full", "literals-masked", "fingerprints"] = "literals-masked"
    results: Literal["full", "sample", "counts"] = "full"


class RawContain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What follows from reading an untrusted column."""

    for_: str | int | None = msgspec.field(name="for", default=None)
    writes: Literal["allow", "hold", "deny"] | None = None
    masks: Literal["keep", "redact"] | None = None
    functions: Literal["allow", "deny"] | None = None
    targets: Literal["allow", "deny"] | None = None
    reviewers: RawReviewers | None = None


class RawInjection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which columns are looked through for text that reads as instructions, and what then."""

    then: list[Literal["mark", "redact", "contain"]]
    columns: list[str] | None = None
    bytes: int = 4 << 20


class RawPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    version: int
    tags: dict[str, list[str]] = {}
    packs: list[str] = []
    rules: list[RawRule] = []
    masks: list[RawMask] = []
    functions: list[str] = []
    search_paths: list[str] = []
    settings: list[str] = []
    limits: RawLimits | list[RawLimits] | None = None
    notices: bool = True
    record: RawRecord | None = None
    views: dict[str, str] = {}
    untrusted: list[str] = []
    contain: RawContain | None = None
    injection: RawInjection | None = None
