"""Policy files: what is accepted, and that everything wrong is said with its line and a way out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sallyport.core.errors import ConfigError
from sallyport.policy.actions import ACTIONS, GROUPS, canonical, expand, is_ddl
from sallyport.policy.decision import Filter, MaskSpec, Outcome
from sallyport.policy.file.load import PACKS, load_policy, parse_policy
from sallyport.policy.file.source import PolicyFile
from sallyport.policy.model import SubjectLimits

#: The example of the documentation, word for word.
EXAMPLE = """version: 1
tags:
  pii.email: ["*.*.email"]
  pii.national_id: ["public.customers.ssn"]
packs: [no-ddl, no-unbounded-write]
rules:
  - name: agents read the shop
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    allow: [read]
    relations: ["public.*"]
  - name: changes to orders wait for a DBA
    subjects: {groups: [claude-postgres]}
    targets: [shop]
    hold: [update, delete]
    relations: ["public.orders"]
    reviewers: {groups: [dba], quorum: 1}
    expires: 15m
  - name: nobody truncates
    deny: [truncate]
    message: Truncation is done by migrations only.
masks:
  - {tags: [pii.email], with: email, filter: masked, except: {groups: [privacy]}}
  - {columns: ["public.customers.ssn"], with: {partial: {keep_last: 4}}, filter: deny}
"""


def test_the_example() -> None:
    policy = parse_policy(EXAMPLE, "policy.yaml")
    own = [rule for rule in policy.rules if not rule.pack]
    assert [rule.effect for rule in own] == [Outcome.ALLOW, Outcome.HOLD, Outcome.DENY]
    assert own[0].actions == GROUPS["read"]
    assert own[1].reviewers is not None
    assert own[1].reviewers.quorum == 1
    assert own[1].expires == 900.0
    assert own[1].line == 12
    assert [entry.filter for entry in policy.masks] == [Filter.MASKED, Filter.DENY]
    assert policy.masks[1].spec == MaskSpec("partial", keep_last=4)
    assert policy.groups() == {"claude-postgres", "dba", "privacy"}
    assert policy.warnings == ("policy.yaml:4:3: no rule or mask uses the tag 'pii.national_id'",)


def rule(*lines: str, name: str = "r") -> str:
    return (
        "version: 1\nrules:\n  - name: " + name + "\n" + "".join(f"    {line}\n" for line in lines)
    )


def mask(text: str) -> str:
    return "version: 1\nmasks:\n  - " + text + "\n"


ERRORS = [
    # text, line, what it must say, what to do
    ("", 1, "the file is empty", "Write"),
    ("- 1\n", 1, "a mapping of keys is expected", "key: value"),
    ("rules: []\n", 1, "the key 'version' is missing", "Add it"),
    ("version: 2\n", 1, "version 2 is not supported", "Write 'version: 1'"),
    ("version: 1\nversion: 1\n", 2, "'version' is listed twice (first on line 1)", "Remove one"),
    ("version: 1\nruls: []\n", 2, "ruls: unknown key", "Did you mean 'rules'?"),
    ("version: 1\nrules: {}\n", 2, "a list ([a, b]) is expected here, not a mapping", ""),
    ("version: 1\nrules: [\n", 3, "not valid YAML", "Check"),
    (
        "version: 1\npacks: [no-dll]\n",
        2,
        "packs[0]: unknown pack 'no-dll'",
        "Did you mean 'no-ddl'?",
    ),
    ("version: 1\npacks:\n  - no-ddl\n  - no-ddl\n", 4, "is listed twice", "Remove one"),
    ("version: 1\ntags:\n  a: ['x.y']\n", 3, "'x.y' has 2 parts, not 3", "public.customers.email"),
    ("version: 1\ntags:\n  a: ['x..y']\n", 3, "is not a pattern", "public.customers.email"),
    (
        "version: 1\nfunctions:\n  - 'pg_catalog.*'\n",
        3,
        "system functions cannot be trusted",
        "Remove it",
    ),
    ("version: 1\nfunctions:\n  - slugify\n", 3, "has 1 part, not 2", "app.slugify"),
    ("version: 1\nsearch_paths:\n  - 'a,,b'\n", 3, "not a usable search_path", "app, public"),
    ("version: 1\nsearch_paths:\n  - pg_temp\n", 3, "not a usable search_path", "app, public"),
    (
        rule("allow: [selct]"),
        4,
        "rules[0].allow[0]: unknown action 'selct'",
        "Did you mean 'select'?",
    ),
    (
        rule("allow:", "  - select", "  - updat"),
        6,
        "unknown action 'updat'",
        "Did you mean 'update'?",
    ),
    (rule("allow: []"), 4, "the list of actions is empty", "Name actions"),
    (
        rule("targets: [a]"),
        3,
        "exactly one of allow, hold and deny is needed, not none",
        "allow: [read]",
    ),
    (rule("allow: [read]", "deny: [ddl]"), 3, "not allow and deny", "Write one list"),
    (rule("allow: read"), 4, "a list ([a, b]) is expected here, not a text", ""),
    (
        rule("allow: [read]", "relation: ['a.b']"),
        5,
        "rules[0].relation: unknown key",
        "Did you mean 'relations'?",
    ),
    (
        rule("allow: [read]", "relations: [orders]"),
        5,
        "'orders' has 1 part, not 2",
        "public.customers",
    ),
    (
        rule("allow: [read]", "relations: []"),
        5,
        "the list is empty and would match nothing",
        "remove the key",
    ),
    (rule("allow: [read]", "tags: [pi]"), 5, "unknown tag 'pi'", "Declare it under 'tags:'"),
    (rule("allow: [read]", "subjects: {groups: []}"), 5, "the list is empty", "Name at least one"),
    (rule("allow: [read]", "subjects: {group: [a]}"), 5, "unknown key", "Did you mean 'groups'?"),
    (
        rule("allow: [read]", "subjects: {claims: {a: {b: 1}}}"),
        5,
        "a claim's value must be plain",
        "Write a text",
    ),
    (rule("allow: [read]", "when: 'target =='"), 5, "is not valid CEL", "docs/policy.md"),
    (
        rule("allow: [read]", "when: subjekt.id == 'a'"),
        5,
        "the unknown name 'subjekt'",
        "there are subject",
    ),
    (
        rule("allow: [read]", "when: subject.grops == []"),
        5,
        "uses subject.grops, which does not exist",
        "groups",
    ),
    (rule("allow: [read]", "when: target"), 5, "gives a str, not true or false", "docs/policy.md"),
    (
        rule("allow: [read]", "when: launch(target)"),
        5,
        "the unknown function 'launch'",
        "docs/policy.md",
    ),
    (
        rule("allow: [read]", "reviewers: {groups: [a]}"),
        5,
        "only 'hold' rules have reviewers",
        "Remove it",
    ),
    (rule("allow: [read]", "expires: 5m"), 5, "only 'hold' rules expire", "Remove it"),
    (rule("hold: [update]", "expires: soon"), 5, "'soon' is not a duration", "like 15m"),
    (
        rule("hold: [update]", "reviewers: {groups: [a], quorum: 0}"),
        5,
        "at least one reviewer",
        "Write 1",
    ),
    (
        rule("allow: [read]", "window: {from: 8, to: '18:00'}"),
        5,
        "a text is expected here, not a whole number",
        "",
    ),
    (
        rule("allow: [read]", "window: {from: 25:00, to: 18:00}"),
        5,
        "'25:00' is not a time of day",
        "like 08:30",
    ),
    (
        rule("allow: [read]", "window: {from: 08:00, to: 08:00}"),
        5,
        "the window is empty",
        "different times",
    ),
    (
        rule("allow: [read]", "window: {from: 08:00, to: 09:00, timezone: Mars}"),
        5,
        "unknown time zone 'Mars'",
        "Europe/Berlin",
    ),
    (
        rule("allow: [read]", "window: {days: [monday], from: 08:00, to: 09:00}"),
        5,
        "'monday' is not known",
        "Did you mean 'mon'? Known values: ",
    ),
    (
        rule("allow: [read]") + "  - name: r\n    deny: [ddl]\n",
        5,
        "two rules are named 'r' (first on line 3)",
        "Rename one",
    ),
    (rule("allow: [read]", name="''"), 3, "a rule needs a name", "Say in a few words"),
    (mask("{with: redact}"), 3, "a mask needs tags or columns", "Write"),
    (
        mask("{columns: ['a.b.c'], with: redakt}"),
        3,
        "unknown mask 'redakt'",
        "Did you mean 'redact'?",
    ),
    (
        mask("{columns: ['a.b.c'], with: partial}"),
        3,
        "the mask 'partial' needs parameters",
        "keep_last: 4",
    ),
    (
        mask("{columns: ['a.b.c'], with: {partial: {keep_last: -1}}}"),
        3,
        "is not usable",
        "keep_first",
    ),
    (mask("{columns: ['a.b.c'], with: {partial: {keep: 1}}}"), 3, "unknown key", "keep_last"),
    (
        mask("{columns: ['a.b.c'], with: {bucket: {size: 0}}}"),
        3,
        "must be a positive number",
        "1000",
    ),
    (
        mask("{columns: ['a.b.c'], with: {date: {precision: hour}}}"),
        3,
        "'hour' is not known",
        "day, month, year",
    ),
    (
        mask("{columns: ['a.b.c'], with: {redact: {x: 1}}}"),
        3,
        "redact has no parameters",
        "with: redact",
    ),
    (
        mask("{columns: ['a.b.c'], with: redact, filter: some}"),
        3,
        "'some' is not known",
        "Known values: allow, deny, equality, equality: joins, masked",
    ),
    (
        mask("{columns: ['a.b.c'], with: redact, filter: maskd}"),
        3,
        "'maskd'",
        "Did you mean 'masked'?",
    ),
    (
        mask("{columns: ['a.b.c'], with: redact, filter: {equality: join}}"),
        3,
        "masks[0].filter.equality: 'join' is not known",
        "Did you mean 'joins'?",
    ),
    (mask("{columns: ['a.b.c'], with: redact, filter: null}"), 3, "but there is nothing", "masked"),
    (
        mask("{columns: ['a.b.c'], with: redact, write: yes}"),
        3,
        "masks[0].write: 'yes'",
        "allow, deny",
    ),
    (
        mask("{columns: ['a.b.c'], with: redact, write_filter: allow}"),
        3,
        "masks[0].write_filter: 'allow' is not known",
        "deny, masked",
    ),
    (
        mask("{columns: ['a.b.c'], with: redact, copies: mask}"),
        3,
        "masks[0].copies: 'mask' is not known",
        "Did you mean 'masked'?",
    ),
    ("version: 1\nnotices: no\n", 2, "true or false is expected here, not a text", ""),
    (
        "version: 1\nviews:\n  public.v: trust\n",
        3,
        "views.public.v: unknown value 'trust'",
        "Did you mean 'trusted'? Write, for example, 'views: {\"public.v\": trusted}'",
    ),
    ("version: 1\nviews:\n  v: trusted\n", 3, "'v' has 1 part, not 2", "public.customer_names"),
    ("version: 1\nviews:\n  pg_catalog.pg_views: trusted\n", 3, "cannot be trusted", "Remove it"),
    (
        mask("{columns: ['a.b.c'], with: redact, except: {}}"),
        3,
        "would lift the mask for everyone",
        "Name groups",
    ),
    (mask("{tags: [x], with: redact}"), 3, "unknown tag 'x'", "Declare it"),
    (mask("{columns: ['a.b'], with: redact}"), 3, "has 2 parts, not 3", "public.customers.email"),
    ("version: 1\nlimits:\n  rows: 0\n", 3, "a limit must be 1 or more", "Remove the key"),
    ("version: 1\nlimits:\n  rowz: 1\n", 3, "unknown key", "Did you mean 'rows'?"),
    ("version: 1\nlimits:\n  statement_timeout: 5 parsecs\n", 3, "is not a duration", "like 15m"),
]


@pytest.mark.parametrize(("text", "line", "what", "fix"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors_point_at_the_line(text: str, line: int, what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "policy.yaml")
    message = str(caught.value)
    assert re.match(rf"policy\.yaml:{line}:[1-9]\d*: ", message), message
    assert what in message
    assert fix in message
    assert "\n" not in message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"version: 1\n# \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2:3: not valid UTF-8"):
        load_policy(tmp_path / "latin.yaml")


def test_yaml_of_1_2_has_no_surprises() -> None:
    policy = parse_policy(
        rule(
            "allow: [read]", "subjects: {groups: [no, on, off], claims: {a: [yes, true, 1, 18:00]}}"
        ),
        "p",
    )
    match = policy.rules[0].subjects
    assert match.groups == {"no", "on", "off"}
    assert match.claims == (("a", ("yes", True, 1, "18:00")),)


def test_mask_named_null_may_be_written_plainly() -> None:
    policy = parse_policy(mask("{columns: ['a.b.c'], with: null}"), "p")
    assert policy.masks[0].spec == MaskSpec("null")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("redact", MaskSpec("redact")),
        ("hash", MaskSpec("hash", key="default")),
        ("{hash: {key: tokens}}", MaskSpec("hash", key="tokens")),
        ("date", MaskSpec("date", precision="year")),
        ("{date: {precision: month}}", MaskSpec("date", precision="month")),
        ("{bucket: {size: 0.5}}", MaskSpec("bucket", size=0.5)),
        ("{constant: {value: hidden}}", MaskSpec("constant", value="hidden")),
        (
            "{partial: {keep_first: 1, keep_last: 2}}",
            MaskSpec("partial", keep_first=1, keep_last=2),
        ),
    ],
)
def test_masks(text: str, spec: MaskSpec) -> None:
    assert parse_policy(mask("{columns: ['a.b.c'], with: " + text + "}"), "p").masks[0].spec == spec


@pytest.mark.parametrize(
    ("text", "filter_"),
    [
        ("masked", Filter.MASKED),
        ("deny", Filter.DENY),
        ("equality", Filter.EQUALITY),
        ("{equality: joins}", Filter.EQUALITY_JOINS),
        ("'equality: joins'", Filter.EQUALITY_JOINS),
        ("allow", Filter.ALLOW),
    ],
)
def test_filters(text: str, filter_: Filter) -> None:
    policy = parse_policy(mask("{columns: ['a.b.c'], with: redact, filter: " + text + "}"), "p")
    assert policy.masks[0].filter is filter_
    assert [warning.partition(" in this version")[0] for warning in policy.warnings] == (
        ["p:3:5: 'equality: joins' works as 'equality'"] if filter_ is Filter.EQUALITY_JOINS else []
    )


def test_a_mask_without_filter_is_masked() -> None:
    text = (
        mask("{columns: ['a.b.c'], with: redact}")
        + "  - {columns: ['a.b.d'], with: redact, filter: deny}\n"
    )
    policy = parse_policy(text, "policy.yaml")
    assert [entry.filter for entry in policy.masks] == [Filter.MASKED, Filter.DENY]
    assert policy.warnings == ()


def test_what_a_mask_permits_beside_its_filter() -> None:
    text = "{columns: ['a.b.c'], with: redact, write_filter: masked, write: allow, copies: masked}"
    entry = parse_policy(mask(text), "p").masks[0]
    assert (entry.write_filter, entry.write, entry.copies) == (True, True, True)
    entry = parse_policy(mask("{columns: ['a.b.c'], with: redact, write: deny}"), "p").masks[0]
    assert (entry.write_filter, entry.write, entry.copies) == (False, False, False)


def test_notices_and_trusted_views() -> None:
    policy = parse_policy(
        "version: 1\nnotices: false\nviews: {public.v: trusted, 'app.*': trusted}\n", "p"
    )
    assert not policy.notices
    assert [pattern.text for pattern in policy.trusted_views] == ["public.v", "app.*"]
    policy = parse_policy("version: 1\npacks: [read-only]\n", "p")
    assert policy.notices
    assert policy.trusted_views == ()


def test_version_is_the_content() -> None:
    first = parse_policy(EXAMPLE, "a.yaml").version
    assert len(first) == 16
    assert parse_policy(EXAMPLE, "b.yaml").version == first
    assert parse_policy(EXAMPLE + "# a comment\n", "a.yaml").version != first


@pytest.mark.parametrize("pack", PACKS)
def test_packs_load(pack: str) -> None:
    policy = parse_policy(f"version: 1\npacks: [{pack}]\n", "p")
    assert policy.packs == (pack,)
    assert policy.rules or policy.masks
    assert len(policy.warnings) == (pack == "contain-untrusted")  # which needs 'untrusted' columns
    assert all(r.pack == pack and not r.gives for r in policy.rules)


def test_a_packs_tags_can_be_used_and_widened() -> None:
    text = "version: 1\npacks: [pii-default]\ntags: {pii.email: ['a.b.kontakt']}\n"
    policy = parse_policy(text + "rules:\n  - {name: r, deny: [select], tags: [pii.phone]}\n", "p")
    assert "a.b.kontakt" in [p.text for p in policy.tags["pii.email"]]
    assert len(policy.tags["pii.email"]) > 1


def test_limits_the_strictest_value_of_each_wins() -> None:
    limits = SubjectLimits(rows=10, statement_timeout=30.0)
    assert limits.stricter(SubjectLimits(rows=20, bytes=5)) == SubjectLimits(
        rows=10, bytes=5, statement_timeout=30.0
    )


def test_actions_are_spelled_both_ways_and_groups_expand() -> None:
    assert expand(["create_table", "COPY-OUT"]) == {"create-table", "copy-out"}
    assert expand(["read"]) >= {"select", "copy-out", "explain", "show", "declare", "fetch"}
    assert expand(["write"]) == {"insert", "update", "delete", "merge", "copy-in"}
    assert "truncate" not in expand(["write", "ddl", "read"])
    assert expand(["all"]) == ACTIONS - {"temp"}
    assert canonical("START TRANSACTION") == "begin"
    assert is_ddl("create_gizmo".replace("_", "-"))
    assert not is_ddl("select")


def test_reload_keeps_the_old_policy_when_the_new_one_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(EXAMPLE)
    file = PolicyFile(path)
    first = file.current
    assert file.reload() == (False, None)
    path.write_text(EXAMPLE.replace("allow: [read]", "allow: [raed]"))
    changed, error = file.reload()
    assert not changed
    assert error is not None
    assert f"{path}:10:13: rules[0].allow[0]: " in error
    assert file.current is first
    path.unlink()
    changed, error = file.reload()
    assert not changed
    assert error is not None
    assert file.current is first
    path.write_text(EXAMPLE.replace("nobody truncates", "no truncation"))
    assert file.reload() == (True, None)
    assert file.current.version != first.version


def test_a_first_load_that_fails_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        PolicyFile(tmp_path / "none.yaml")
