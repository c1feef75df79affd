"""sallyport.yaml, section approvals: what is accepted and completed, and what is refused with its
line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sallyport.config import ApprovalSettings, SecretRef
from sallyport.core.errors import ConfigError
from tests.test_config import EXAMPLE, load

SLACK = "signing_secret: {env: S}, bot_token: {env: B}, channel: C1"
DANA = "subject: dana, email: d@example.com, groups: [dba]"


def test_nothing_is_needed(tmp_path: Path) -> None:
    assert load(tmp_path, EXAMPLE).approvals == ApprovalSettings()


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
    (block,) = re.findall(r"```yaml\n(approvals:\n.*?)```", page, re.DOTALL)
    settings = load(tmp_path, EXAMPLE + block).approvals
    assert settings.webhooks[0].secret == SecretRef(file=str(tmp_path / "webhook.key"))
    assert settings.webhooks[0].events == ("asked", "denied")
    assert settings.mail is not None and (settings.mail.port, settings.mail.tls) == (
        587,
        "starttls",
    )
    assert settings.slack is not None and settings.slack.api == "https://slack.com/api"
    assert settings.slack.people["U0123456789"].issuer == "https://idp.example.com"
    assert settings.identities.aliases == (("dana@example.com", "dana@contractor.example"),)


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_ports_of_mail(tmp_path: Path, tls: str, port: int) -> None:
    mail = load(
        tmp_path, EXAMPLE + f"approvals: {{mail: {{host: m, from: a@b, to: [c@d], tls: {tls}}}}}\n"
    )
    assert mail.approvals.mail is not None and mail.approvals.mail.port == port


@pytest.mark.parametrize(
    ("approvals", "says"),
    [
        ("{webhook: []}", "webhook"),
        ("{webhooks: [{url: 'http://hooks.example.com', secret: {env: S}}]}", "not https"),
        ("{webhooks: [{url: 'https://h.example.com', secret: plain}]}", "secret"),
        ("{webhooks: [{url: 'https://h.example.com', secret: {}}]}", "exactly one of"),
        ("{webhooks: [{url: 'https://h.example.com', secret: {env: S}, events: [used]}]}", "used"),
        ("{mail: {host: m, from: a@b, to: []}}", "must not be empty"),
        ('{mail: {host: m, from: "a@b\\nBcc: x@y", to: [c@d]}}', "control character"),
        ("{mail: {host: m, from: a@b, to: [c@d], port: 70000}}", "not a port"),
        ("{mail: {host: m, from: a@b, to: [c@d], user: u}}", "belong together"),
        (
            "{mail: {host: m, from: a@b, to: [c@d], tls: none, user: u, password: {env: P}}}",
            "without TLS",
        ),
        ("{slack: {signing_secret: {env: S}, bot_token: {env: B}}}", "channel"),
        (f"{{slack: {{{SLACK}, api: 'http://slack.example.com'}}}}", "not https"),
        (f"{{slack: {{{SLACK}, people: {{U1: dana}}}}}}", "U1"),
        (f"{{slack: {{{SLACK}, people: {{U1: {{subject: dana, groups: [dba]}}}}}}}}", "email"),
        (
            f"{{slack: {{{SLACK}, people: {{U1: {{subject: dana, email: '', groups: [dba]}}}}}}}}",
            "e-mail",
        ),
        (
            f"{{slack: {{{SLACK}, people: {{U1: {{{DANA}, issuer: 'https://other'}}}}}}}}",
            "not one of identity",
        ),
        ("{limits: {per_minute: 0}}", "more than 0"),
        ("{identities: {aliases: [[one]]}}", "two names"),
        ("{identities: {aliases: [[a, b], [b, c]]}}", "two lists"),
    ],
)
def test_what_is_refused(tmp_path: Path, approvals: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"sallyport\.yaml:\d+") as caught:
        load(tmp_path, EXAMPLE + f"approvals: {approvals}\n")
    assert says in str(caught.value)


def test_slack_needs_the_console(tmp_path: Path) -> None:
    text = EXAMPLE.replace("console: {listen: 127.0.0.1:8642}\n", "")
    with pytest.raises(ConfigError, match="needs the console"):
        load(tmp_path, text + f"approvals: {{slack: {{{SLACK}}}}}\n")
