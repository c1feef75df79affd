"""What goes to Slack, and what counts as coming from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from sallyport.approvals.channels import slack_blocks
from sallyport.approvals.channels.slack import Signatures, Slack, SlackPerson, SlackSettings
from sallyport.approvals.states import Preview, Recorded
from sallyport.core.clock import ManualClock
from sallyport.core.errors import SallyportError
from sallyport.core.secret import Secret
from tests.approvals.helpers import AGENT, BINDING, ISSUER, House
from tests.approvals.slack_double import (
    CHANNEL,
    SIGNING_SECRET,
    TEAM,
    TOKEN,
    SlackDouble,
    check_blocks,
    check_modal,
    slack_double,
)
from tests.support.waiting import wait_for

PERSON = SlackPerson("dana", ISSUER, "dana@example.com", frozenset({"dba"}))
SETTINGS = SlackSettings(Secret(SIGNING_SECRET), Secret(TOKEN), CHANNEL, {"UDANA": PERSON}, TEAM)
HOSTILE = "<!channel> *bold* <https://evil.example|click> :tada: \u202egpj \u200b\x1b]0;x\x07"


@pytest.fixture
def double() -> Iterator[SlackDouble]:
    with slack_double() as running:
        yield running
        assert running.problems == []


@pytest.fixture
def slack(double: SlackDouble) -> Iterator[Slack]:
    settings = replace(SETTINGS, api=double.url)
    made = Slack(
        settings, console="https://gw.example.com/", pauses=(0.01, 0.01, 0.01), allow_http=True
    )
    yield made
    made.close()


def test_a_message_is_posted_and_says_what_became_of_it(
    make_house: Callable[..., House], slack: Slack, double: SlackDouble
) -> None:
    house = make_house(notifiers=[slack])
    request = house.ask()
    wait_for(lambda: double.messages)
    shown, ts = double.shown(double.last), double.last
    for word in (
        "alice@example.com",
        "claude-code",
        "shop",
        "changes wait",
        "UPDATE orders SET status = $1",
    ):
        assert word in shown
    assert set(double.buttons(ts)) == {slack_blocks.APPROVE, slack_blocks.DENY, slack_blocks.OPEN}
    assert (
        double.buttons(ts)[slack_blocks.OPEN]["url"]
        == f"https://gw.example.com/approvals/{request.id}"
    )
    house.service.previewed(request.id, Preview(rows=41))
    wait_for(lambda: "41 rows" in double.shown(ts))
    house.deny(request, "cancel it in the shop")
    wait_for(lambda: not double.buttons(ts))
    assert "Denied by dana@example.com: cancel it in the shop" in double.shown(ts)
    assert len(double.messages) == 1


def test_bind_values_stay_here(
    make_house: Callable[..., House], slack: Slack, double: SlackDouble
) -> None:
    house = make_house(notifiers=[slack])
    request = house.ask(replace(BINDING, binds=(b"canary-1", b"canary-2")))
    wait_for(lambda: double.messages)
    assert "2 values" in double.shown(double.last)
    assert "confirm" in double.buttons(double.last)[slack_blocks.APPROVE]
    house.approve(request)
    wait_for(lambda: not double.buttons(double.last))
    assert "canary" not in json.dumps(double.calls)


def test_masks_are_said_and_their_text_is_not_shown(house: House) -> None:
    request = house.ask(replace(BINDING, sent=f"{BINDING.sql} AND email = '[redacted]'"))
    blocks = slack_blocks.message(request, "https://gw")["blocks"]
    check_blocks(blocks)
    assert "masks are applied" in json.dumps(blocks) and "[redacted]" not in json.dumps(blocks)
    plain = slack_blocks.message(house.ask(), "https://gw")["blocks"]
    assert "masks" not in json.dumps(plain)


def test_what_strangers_write_is_inert(house: House) -> None:
    subject = replace(AGENT, email=HOSTILE, agent=HOSTILE)
    request = house.ask(
        replace(BINDING, sql=f"UPDATE t SET x = '{HOSTILE}'"),
        subject,
        rule=HOSTILE,
        touches=(HOSTILE,),
    )
    for state in (request, house.deny(request, HOSTILE)):
        message = slack_blocks.message(state, "https://gw")
        check_blocks(message["blocks"])
        text = json.dumps(message, ensure_ascii=False)
        assert "mrkdwn" not in text and '"emoji": true' not in text
        assert not {"\u202e", "\u200b", "\x1b", "\x07"} & set(text)
        assert "channel" not in message["text"], "Slack reads markup there"
    assert r"\\u{202e}gpj \\u{200b}\\u{1b}" in text, "what does not print is named"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '" + "x" * 3000 + "'",
        "SELECT 1" + "\n" * 100 + "; DELETE",
        "SELECT '" + "\x01" * 900 + "'",
    ],
)
def test_what_cannot_be_seen_cannot_be_approved_there(house: House, sql: str) -> None:
    request = house.ask(replace(BINDING, sql=sql))
    blocks = slack_blocks.message(request, "https://gw")["blocks"]
    check_blocks(blocks)
    text = json.dumps(blocks)
    assert slack_blocks.APPROVE not in text and slack_blocks.DENY in text and "too long" in text


def test_values_that_recordings_hide_are_not_sent_there(house: House) -> None:
    hidden = "DELETE FROM customers WHERE email = '…'"
    shown = replace(
        BINDING,
        sql="DELETE FROM customers WHERE email = 'ada@example.com'",
        recorded=Recorded(hidden, None, ()),
    )
    blocks = slack_blocks.message(house.ask(shown), "https://gw")["blocks"]
    check_blocks(blocks)
    text = json.dumps(blocks, ensure_ascii=False)
    assert "ada@example.com" not in text and hidden in text
    assert slack_blocks.APPROVE not in text and slack_blocks.DENY in text
    assert "Values of masked columns are not shown here. Approve it in the console." in text


def test_the_form_fits(house: House) -> None:
    check_modal(slack_blocks.modal(house.ask().id))


def test_pauses_that_slack_asks_for_are_kept(
    make_house: Callable[..., House], slack: Slack, double: SlackDouble
) -> None:
    double.failures += [
        (429, {"Retry-After": "1"}, {"ok": False, "error": "ratelimited"}),
        (503, {}, {}),
        (200, {}, {"ok": False, "error": "internal_error"}),
    ]
    make_house(notifiers=[slack]).ask()
    wait_for(lambda: double.messages)
    assert len(double.messages) == 1 and len(double.arrived) == 4
    assert double.arrived[1] - double.arrived[0] >= 1.0


def test_what_slack_refuses_is_said_once_and_without_secrets(
    make_house: Callable[..., House], slack: Slack, double: SlackDouble
) -> None:
    double.failures += [(200, {}, {"ok": False, "error": "not_in_channel"})]
    with capture_logs() as logs:
        house = make_house(notifiers=[slack])
        house.approve(house.ask())
        wait_for(lambda: any("refused" in entry["event"] for entry in logs))
        slack.close()
    assert len(double.arrived) == 1 and "not_in_channel" in repr(logs)
    assert (
        TOKEN not in repr(logs) and SIGNING_SECRET not in repr(logs) and TOKEN not in repr(SETTINGS)
    )


def test_a_request_that_ended_meanwhile_is_not_posted(
    make_house: Callable[..., House], slack: Slack, double: SlackDouble
) -> None:
    double.failures += [(500, {"Retry-After": "1"}, {})]
    house = make_house(notifiers=[slack])
    house.service.withdraw(house.ask().id, "gone")
    wait_for(lambda: double.arrived)
    slack.close()
    assert not double.messages


def test_a_message_from_before_a_restart_is_brought_up_to_date_by_a_click(
    house: House, slack: Slack, double: SlackDouble
) -> None:
    request = house.ask()
    double.messages["1.5"] = {"channel": CHANNEL, **slack_blocks.message(request, "")}
    ended = house.service.void(request.id, "the gateway that held it ended")
    slack.notify("voided", ended)
    slack.refresh(ended, CHANNEL, "1.5")
    wait_for(lambda: not double.buttons("1.5"))
    assert "the gateway that held it ended" in double.shown("1.5") and len(double.calls) == 1


BODY = b"payload=%7B%7D"


def signed(
    at: float = 1_000_000.0, body: bytes = BODY, secret: str = SIGNING_SECRET
) -> tuple[str, str]:
    headers = SlackDouble.headers(body, at, secret)
    return headers["X-Slack-Request-Timestamp"], headers["X-Slack-Signature"]


@pytest.mark.parametrize(
    ("stamp", "signature", "body", "why"),
    [
        (*signed(), BODY, ""),
        (*signed(999_700.0), BODY, ""),
        (*signed(999_699.0), BODY, "five minutes"),
        (*signed(1_000_301.0), BODY, "five minutes"),
        (*signed(), BODY + b"x", "wrong"),
        (*signed(secret="another"), BODY, "wrong"),
        ("1000001", signed()[1], BODY, "wrong"),
        (signed()[0], signed()[1].upper(), BODY, "wrong"),
        (signed()[0], signed()[1][3:], BODY, "wrong"),
        (signed()[0], "", BODY, "wrong"),
        (signed()[0], "v0=\u20ac\udc80", BODY, "wrong"),
        ("", signed()[1], BODY, "timestamp"),
        ("1000000.0", signed()[1], BODY, "timestamp"),
        ("-1000000", signed()[1], BODY, "timestamp"),
        ("\u0661" * 7, signed()[1], BODY, "timestamp"),
        ("9" * 5000, signed()[1], BODY, "timestamp"),
    ],
)
def test_signatures(stamp: str, signature: str, body: bytes, why: str) -> None:
    clock = ManualClock(999_000.0)
    signatures = Signatures(Secret(SIGNING_SECRET), clock)
    clock.advance(1000)
    problem = signatures.check(stamp, signature, body)
    assert (why in problem) if why else problem == ""


def test_each_signature_is_good_once_for_as_long_as_it_is_young() -> None:
    clock = ManualClock(1_000_000.0)
    signatures = Signatures(Secret(SIGNING_SECRET), clock)
    early = signed(1_000_290.0)  # Slack's clock is ahead
    assert signatures.check(*early, BODY) == ""
    for seconds in (0, 300, 290):
        clock.advance(seconds)
        assert signatures.check(*early, BODY) != ""
    assert signatures.check(*signed(clock.now()), BODY) == ""


def test_what_was_received_before_a_restart_is_not_received_again() -> None:
    clock = ManualClock(1_000_000.0)
    click = signed(1_000_000.0)
    assert Signatures(Secret(SIGNING_SECRET), clock).check(*click, BODY) == ""
    clock.advance(1.5)
    restarted = Signatures(Secret(SIGNING_SECRET), clock)
    assert "before this gateway started" in restarted.check(*click, BODY)
    clock.advance(1)
    assert restarted.check(*signed(clock.now()), BODY) == ""


def test_people_are_those_of_the_configuration(slack: Slack) -> None:
    dana = slack.subject("UDANA", TEAM)
    assert dana is not None and (dana.id, dana.email, dana.groups) == (
        "dana",
        "dana@example.com",
        {"dba"},
    )
    assert slack.subject("UDANA", "T999") is None, "a user of another workspace"
    assert slack.subject("UEVE", TEAM) is None and slack.subject("", TEAM) is None


def test_unsafe_settings_are_refused() -> None:
    with pytest.raises(SallyportError, match="https"):
        Slack(replace(SETTINGS, api="http://slack.com/api"))
    with pytest.raises(SallyportError, match="empty"):
        Slack(replace(SETTINGS, signing_secret=Secret("")))


def test_the_double_refuses_what_slack_refuses(double: SlackDouble) -> None:
    bad: Any = {"type": "section", "text": {"type": "plain_text", "text": ""}}
    with pytest.raises(Exception, match="invalid_blocks"):
        check_blocks([bad])
    assert (
        double.handle("chat.postMessage", {"Authorization": "Bearer x"}, b"{}")[2]["error"]
        == "invalid_auth"
    )
    assert double.problems.pop() == "chat.postMessage: invalid_auth"
