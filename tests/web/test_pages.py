"""What pages show: hostile text inert, large recordings in pages, approvals decided under their own
rules.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from markupsafe import Markup
from starlette.testclient import TestClient

from sallyport.approvals.states import ApprovalRequirement, Preview, Recorded
from sallyport.core.subject import Subject
from sallyport.judge import Judge
from sallyport.operations.history import SPANS
from sallyport.policy.file.load import parse_policy
from sallyport.sql.catalog.snapshot import Type
from sallyport.web.app import build
from sallyport.web.pages import plots
from sallyport.web.pages.rendering import environment
from sallyport.web.pages.sqltext import highlight
from tests.approvals.helpers import BINDING
from tests.web.helpers import Browser
from tests.web.world import EVIL, POLICY, RAW, TYPED, World

MakeBrowser = Callable[[str], Browser]


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("viewer", "/"), ("viewer", "/overview/live"), ("viewer", "/policy"),
        ("viewer", "/targets"),
        ("viewer", "/sessions?subject=claude+%3C"), ("auditor", "/sessions/s_first"),
        ("auditor", "/sessions/s_first/replay"), ("auditor", "/sessions/s_first/replay/steps"),
        ("operator", "/sessions/s_first"), ("reviewer", "/approvals"),
        ("reviewer", "/approvals/REQUEST"),
        ("reviewer", "/approvals/REQUEST/status"),
    ],
)  # fmt: skip
def test_hostile_text_is_inert(browser: MakeBrowser, place: World, role: str, path: str) -> None:
    answer = browser(role).get(path.replace("REQUEST", place.request.id))
    assert answer.status_code == 200
    for raw in RAW:
        assert raw not in answer.text
    if "status" not in path and "?" not in path:  # lists cut long names
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
        assert "\\u{202e}gpj\\u{200b}\\e]0;owned\\x07" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/sessions?subject=EVIL",
        "/sessions?since=EVIL",
        "/sessions?after=EVIL",
        "/EVIL",
        "/sign-in?next=EVIL",
    ],
)
def test_hostile_input_is_inert(browser: MakeBrowser, path: str) -> None:
    from urllib.parse import quote

    answer = browser("viewer").get(path.replace("EVIL", quote(EVIL)))
    assert answer.status_code < 500
    for raw in RAW:
        assert raw not in answer.text


def test_hostile_forms_are_inert(browser: MakeBrowser) -> None:
    form = dict.fromkeys(("target", "groups", "subject", "agent", "claims", "sql"), EVIL)
    vera = browser("viewer")
    for fields in (form, {**form, "claims": ""}, {**form, "claims": "", "target": "shop"}):
        answer = vera.post("/policy/explain", **fields)
        assert answer.status_code in (200, 422)
        for raw in RAW:
            assert raw not in answer.text


def test_templates_cannot_forget_to_escape() -> None:
    for name in environment().list_templates():
        source = environment().loader.get_source(environment(), name)[0]  # type: ignore[union-attr]
        assert "|safe" not in source.replace(" ", "")
        assert "autoescape" not in source
    made = (
        environment()
        .from_string("<p title='{{ a }}'>{{ a }}{{ b }}</p>")
        .render(a=EVIL, b=Markup("<i>"))
    )
    assert not any(raw in made for raw in RAW)
    assert made.endswith("<i></p>")


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("select 'a', \"b\"", ('<span class="sql-keyword">select</span> <span'
                               ' class="sql-string">&#39;a&#39;</span>, <span'
                               ' class="sql-name">&#34;b&#34;</span>')),
        ("-- x\nselect 1", ('<span class="sql-comment">-- x</span>\n'
                            '<span class="sql-keyword">select</span>'
                            ' <span class="sql-number">1</span>')),
        ("$q$ it's $q$", '<span class="sql-string">$q$ it&#39;s $q$</span>'),
        ("a = $1", 'a = <span class="sql-parameter">$1</span>'),
        ("'open", '<span class="sql-string">&#39;open</span>'),
        ("/* open <b>", '<span class="sql-comment">/* open &lt;b&gt;</span>'),
    ],
)  # fmt: skip
def test_highlighting(sql: str, shown: str) -> None:
    assert highlight(sql) == shown


def test_a_comment_in_the_inbox_ends_where_it_ends(browser: MakeBrowser, place: World) -> None:
    """In one line, a comment would swallow what comes after it."""
    page = browser("reviewer").get("/approvals").text
    (shown,) = re.findall(r'<pre class="sql one">(.*?)</pre>', page, re.S)
    assert '<span class="sql-keyword">WHERE</span>' in shown


def test_sessions_come_in_pages(browser: MakeBrowser) -> None:
    vera = browser("viewer")
    seen: list[str] = []
    path = "/sessions"
    for _ in range(4):
        page = vera.get(path).text
        seen += re.findall(r'<span class="mono">(s_\w+)</span>', page)
        onward = re.search(r'rel="next" href="([^"]+)"', page)
        if onward is None:
            break
        path = onward[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == 101
    assert seen[-1] == "s_first", "oldest last"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("subject=bot-1", 33), ("subject=BOT-1", 33), ("subject=%25", 0), ("verdict=refused", 11),
        ("target=nowhere", 0),
        ("status=live", 0), ("until=2001-01-01T00:00", 0),
        ("since=2001-01-01T00:00&subject=bot-2", 33),
    ],
)  # fmt: skip
def test_search(browser: MakeBrowser, query: str, count: int) -> None:
    page = browser("viewer").get(f"/sessions?{query}").text
    assert len(re.findall(r'<span class="mono">s_\w+</span>', page)) == count


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "status=x", "verdict=x", "after=x", "after=nan~s", "subject=" + "x" * 301],
)
def test_searches_that_make_no_sense(browser: MakeBrowser, query: str) -> None:
    answer = browser("viewer").get(f"/sessions?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_statements_come_in_pages(browser: MakeBrowser) -> None:
    olga = browser("operator")
    numbers: list[int] = []
    path = "/sessions/s_first"
    for _ in range(5):
        page = olga.get(path).text
        numbers += [int(n) for n in re.findall(r'<tr id="s(\d+)"', page)]
        onward = re.search(r'rel="next" href="([^"]+)"', page)
        if onward is None:
            break
        path = onward[1]
    assert numbers == list(range(1, 260))


def test_a_replay_comes_in_pages(browser: MakeBrowser) -> None:
    adam = browser("auditor")
    rows = refused = 0
    following: str | None = "0"
    for _ in range(10):
        page = adam.get(f"/sessions/s_first/replay/steps?from={following}").text
        assert len(page) < 1_000_000
        rows += len(re.findall(r"<td>\d+</td>", page))
        refused += page.count('class="scene asked refused"')
        following = re.search(r'data-next="(\d*)"', page)[1]  # type: ignore[index]
        if not following:
            break
    assert rows == 400
    assert refused == 1
    assert adam.get("/sessions/s_first/replay/steps?from=999999").text.count("scene") == 0


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/none",
        "/sessions/s_fir",
        "/approvals/none",
        "/nowhere",
        "/static/x",
        "/static/..%2fapp.py",
    ],
)
def test_what_is_not_there(browser: MakeBrowser, path: str) -> None:
    answer = browser("reviewer").get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("start", ["-1", "x", "1e3", "9" * 20, "²"])
def test_positions_that_are_none(browser: MakeBrowser, start: str) -> None:
    assert browser("operator").get("/sessions/s_first", params={"from": start}).status_code == 422


def test_a_page_of_one_thing_is_titled_by_it(browser: MakeBrowser, place: World) -> None:
    """Tabs and histories of a browser show nothing else."""
    request = place.ask(9002)
    for role, path, title in (
        ("operator", "/sessions/s_first", r".+ on .+ · Session"),
        ("auditor", "/sessions/s_first/replay", r".+ on .+ · Replay"),
        ("reviewer", f"/approvals/{request.id}", r".*public\.\w+.* · Approval"),
    ):
        page = browser(role).get(path).text
        assert re.search(f"<title>{title} · Sallyport</title>", page), page[:500]


def test_an_approval_shows_the_settings_that_the_client_has(
    browser: MakeBrowser, place: World
) -> None:
    page = browser("reviewer").get(f"/approvals/{place.ask(9003).id}").text
    assert "<dd>shop as sallyport_agent</dd>" in page
    assert "sallyport.subject" not in page


def test_deciding(browser: MakeBrowser, place: World) -> None:
    request = place.ask(9001)
    for role in ("viewer", "auditor", "operator"):
        assert (
            browser(role).post(f"/approvals/{request.id}/decision", decision="approve").status_code
            == 403
        )
    dana = browser("reviewer")
    assert dana.post(f"/approvals/{request.id}/decision", decision="deny").status_code == 422
    assert dana.post(f"/approvals/{request.id}/decision", decision="perhaps").status_code == 422
    assert (
        dana.post(
            f"/approvals/{request.id}/decision", decision="approve", scope="rule", minutes="x"
        ).status_code
        == 422
    )
    assert place.approvals.get(request.id).status.value == "pending"  # type: ignore[union-attr]
    assert (
        dana.post(f"/approvals/{request.id}/decision", decision="deny", reason="no").status_code
        == 303
    )
    assert dana.post(f"/approvals/{request.id}/decision", decision="approve").status_code == 409


def test_each_rule_shows_where_it_stands(browser: MakeBrowser, place: World) -> None:
    request = place.ask(
        9003, additional=[ApprovalRequirement(f"and the other {EVIL}", ("security",), 2)]
    )
    dana = browser("reviewer")
    assert "0 of 1 and 0 of 2 approved" in dana.get("/approvals").text
    assert dana.post(f"/approvals/{request.id}/decision", decision="approve").status_code == 303
    for path in (f"/approvals/{request.id}", f"/approvals/{request.id}/status"):
        text = dana.get(path).text
        assert "1 of 1 approved" in text and "0 of 2 approved" in text and EVIL not in text
    assert place.approvals.get(request.id).status.value == "pending"  # type: ignore[union-attr]
    place.approvals.withdraw(request.id, "tidy up")


@pytest.mark.parametrize("spared", ["dba", "privacy"])
def test_a_reviewer_sees_values_under_their_own_masks(
    browser: MakeBrowser, place: World, monkeypatch: pytest.MonkeyPatch, spared: str
) -> None:
    policy = parse_policy(
        POLICY.replace("groups: [agents]", "groups: [agents, dba]").replace("privacy", spared),
        "policy.yaml",
    )
    types = {**TYPED.types, 705: Type(705, "pg_catalog", "unknown", "p", "X")}
    catalog = replace(TYPED, types=types)
    judge = Judge("shop", policy, catalog, {}, max_statement_bytes=1 << 20)
    monkeypatch.setattr(place.gateway, "judge", judge)
    sql = "UPDATE customers SET email = '{}'"
    binding = replace(
        BINDING, sql=sql.format("CANARY-1"), sent="", binds=None, bind_formats=(), types=(),
        session=place.ids[0], search_path=("public",), policy_version=policy.version,
        epoch=TYPED.epoch, role=TYPED.role, recorded=Recorded(sql.format("[redacted]"), None, ()),
    )  # fmt: skip
    request = place.approvals.ask(
        binding, Subject("claude", "https://idp.example.com", frozenset()), rule="changes wait",
        reviewers=["dba"], quorum=1, expires_seconds=900.0, mode="wait", kind="update",
    )  # fmt: skip
    plan = '[{"Plan": {"Filter": "CANARY-1"}}]'
    place.approvals.previewed(request.id, Preview(plan, 41, problems=("CANARY-1 failed",)))
    dana = browser("reviewer")
    page, listed = dana.get(f"/approvals/{request.id}").text, dana.get("/approvals").text
    seen = page.count("CANARY-1"), listed.count("CANARY-1"), 'id="hidden"' in page
    assert seen == ((3, 1, False) if spared == "dba" else (0, 0, True))
    assert "<b>41</b> rows" in page and ("[redacted]" in listed) is (spared != "dba")
    denied = dana.post(f"/approvals/{request.id}/decision", decision="deny", reason="")
    assert denied.status_code == 422 and ("CANARY-1" in denied.text) is (spared == "dba")
    place.approvals.withdraw(request.id, "tidy up")
    assert "CANARY-1" not in dana.get(f"/approvals/{request.id}").text


def test_the_text_with_masks_is_shown_where_it_differs(browser: MakeBrowser, place: World) -> None:
    heading = "Sent to the database (masks applied)"
    dana = browser("reviewer")
    page = dana.get(f"/approvals/{place.request.id}").text
    assert (
        "[redacted]" not in page.partition(heading)[0]
        and "[redacted]" in page.partition(heading)[2]
    )
    request = place.ask(9005)
    assert heading not in dana.get(f"/approvals/{request.id}").text
    place.approvals.withdraw(request.id, "tidy up")


def test_an_explanation_shows_the_text_with_masks(browser: MakeBrowser) -> None:
    heading, vera = "Sent to the database (masks applied)", browser("viewer")
    form = {"target": "shop", "groups": "agents", "subject": "", "agent": "", "claims": ""}
    plain = vera.post("/policy/explain", **form, sql="SELECT id FROM customers").text
    assert "Answer" in plain and heading not in plain
    sql = "SELECT id FROM customers WHERE email IS NULL"
    page = vera.post("/policy/explain", **form, sql=sql).text
    assert heading in page and "UNION" in page.partition(heading)[2]


def test_a_sample_of_the_rows(browser: MakeBrowser, place: World) -> None:
    request = place.ask(9004)
    page = browser("reviewer").get(f"/approvals/{request.id}").text
    assert f'hx-get="/approvals/{request.id}/sample"' in page
    rows = browser("reviewer").get(f"/approvals/{request.id}/sample").text
    assert "Some of the rows" in rows and "<i>NULL</i>" in rows and EVIL not in rows
    refused = browser("auditor").get(f"/approvals/{request.id}/sample")
    assert (
        "rows are shown to people who may decide" in refused.text and "<table>" not in refused.text
    )
    assert browser("viewer").get(f"/approvals/{request.id}/sample").status_code == 403
    place.approvals.withdraw(request.id, "tidy up")


def test_approving_ahead_and_ending_it(browser: MakeBrowser, place: World) -> None:
    request = place.ask(9002)
    dana = browser("reviewer")
    answer = dana.post(
        f"/approvals/{request.id}/decision", decision="approve", scope="statement", minutes="30"
    )
    assert answer.status_code == 303
    (grant,) = place.approvals.grants()
    assert "Advance approvals" in dana.get("/approvals").text
    assert dana.post(f"/grants/{grant.id}/revoke").status_code == 303
    assert "Advance approvals" not in dana.get("/approvals").text


def test_without_approvals(place: World) -> None:
    with TestClient(
        build(replace(place.services, approvals=None)),
        base_url="http://127.0.0.1:8642",
        follow_redirects=False,
    ) as client:
        vera = Browser(client).sign_in("viewer")
        assert "not configured" in vera.get("/approvals").text
        assert "not configured" in vera.get("/").text


def test_probes_and_metrics(client: TestClient, place: World) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").status_code == 200
    place.gateway.problem = "the recording cannot be written"
    assert client.get("/readyz").status_code == 503
    place.gateway.problem = ""
    for target, status in (("shop", 200), ("warehouse", 503), ("nowhere", 404)):
        assert client.get("/readyz", params={"target": target}).status_code == status
    text = client.get("/metrics").text
    assert 'sallyport_statements_total{verdict="deny"} 57.0' in text
    assert 'sallyport_judge_seconds_bucket{le="0.0005"} 1170.0' in text
    assert 'sallyport_judge_seconds_bucket{le="+Inf"} 1251.0' in text
    assert 'sallyport_latency_seconds_bucket{direction="to_server",le="2e-05"} 600.0' in text
    assert 'sallyport_latency_seconds_count{direction="to_client"} 1000.0' in text
    assert "sallyport_verdict_cache_hits_total 1600.0" in text
    assert "alert(1)" not in text


def test_a_policy_that_was_not_taken(client: TestClient, place: World) -> None:
    vera = Browser(client).sign_in("viewer")
    assert "The changed policy file was not loaded" not in vera.get("/").text
    place.gateway.policy_problem = f"policy.yaml:7:3: {EVIL}"
    try:
        for path in ("/", "/sessions", "/policy", "/targets"):
            text = vera.get(path).text
            assert "The changed policy file was not loaded" in text
            assert "policy.yaml:7:3" in text
            assert not any(raw in text for raw in RAW)
        ready = client.get("/readyz")
        assert (ready.status_code, "warning: the policy file was not loaded" in ready.text) == (
            200,
            True,
        )
        assert "policy.yaml:7:3" not in ready.text
    finally:
        place.gateway.policy_problem = ""


def test_plots_say_what_they_show() -> None:
    linked = plots.bars("Top", [(EVIL, "", 3)], link=lambda place: f"/x?{place}{EVIL}")
    assert '<a href="/x?0' in linked and "<script" not in linked and "<img" not in linked
    made = plots.bars("Top <b>", [(EVIL, EVIL, 3), ("SP1001", "", 0)])
    assert '<caption class="unseen">Top &lt;b&gt;</caption>' in made
    assert '<th scope="row"><span class="name">SP1001</span></th>' in made
    assert not any(raw in made for raw in RAW)
    assert "style=" not in made
    columns = [(plots.moment(60 * n, 60), Counter[str]()) for n in range(28_333_333, 28_333_393)]
    assert "Last hour: 0 allowed, 0 held, 0 refused" in plots.stacked("Last hour", columns)
    columns[7] = (columns[7][0], Counter(allow=3, deny=1))
    drawn = plots.stacked("Statements by verdict. Last hour", columns)
    assert drawn.count("<rect") == 2
    said = re.findall(r'aria-label="([^"]+)"', drawn)
    assert said[0].endswith("3 allowed, 0 held, 1 refused; most at 22:20 UTC, 4")
    logins = plots.stacked("Logins", [("22:20", {"allow": 2})], words={"allow": "accepted"})
    assert "Logins: 2 accepted; most at 22:20 UTC, 2" in logins


def test_quantiles_are_read_off_a_histogram() -> None:
    bounds = (0.1, 0.2, 0.3, math.inf)
    buckets = {0.1: 1, 0.2: 98, 0.3: 1}
    assert plots.quantile(buckets, 0.5, bounds) == pytest.approx(0.15)
    assert plots.quantile(buckets, 0.99, bounds) == pytest.approx(0.2)
    assert plots.quantile({0.3: 10}, 0.5, bounds) == pytest.approx(0.25)  # from 0.2, not from 0
    assert plots.quantile({math.inf: 1}, 0.5, bounds) == math.inf
    assert plots.quantile({}, 0.5, bounds) is None


def test_quantiles_over_time() -> None:
    nothing: list[float | None] = [None, None, None]
    columns = [(f"22:{n}", nothing) for n in range(10, 20)]
    assert "Nothing yet" in plots.quantiles("Latency added", columns)
    columns[2] = columns[3] = ("22:12", [0.00002, 0.00005, 0.05])
    columns[7] = ("22:17", [0.00002, 0.00005, math.inf])
    drawn = plots.quantiles("Latency added", columns)
    assert "Highest: longer" in drawn
    assert drawn.count("<path") == 3
    assert drawn.count('class="hover"') == 3
    medians = re.findall(r'class="p50" d="([^"]+)"', drawn)
    assert re.fullmatch(r"M2 [\d.]+h1V[\d.]+h1M7 [\d.]+h1", medians[0]), "a gap is a gap"


@pytest.mark.parametrize("span", ["", "1h", "6h", "24h", "7d", "30d", "90d", "a lie"])
def test_overview_of_a_span(browser: MakeBrowser, span: str) -> None:
    text = browser("viewer").get(f"/?span={span}").text
    name = span if span in SPANS else "1h"
    assert f'<a href="/?span={name}" aria-current="true">' in text
    assert f"statements in the last {SPANS[name].title}" in text
    assert f'hx-get="/overview/live?span={name}"' in text
    assert "1840" in text


def test_refusals_lead_to_statements_of_the_span(browser: MakeBrowser) -> None:
    adam = browser("auditor")
    text = adam.get("/?span=7d").text
    links = re.findall(r'href="(/statements\?q=code%3ASP1002[^"]+)"', text)
    assert re.fullmatch(r".*&amp;since=\d{4}-\d\d-\d\dT\d\d%3A\d\d", links[0])
    assert adam.get(links[0].replace("&amp;", "&")).status_code == 200


def test_a_single_column_is_no_wall() -> None:
    drawn = plots.stacked("Logins", [("22:20", {"allow": 2})])
    assert 'x="0.46"' in drawn and 'width="0.08"' in drawn
