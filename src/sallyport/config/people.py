"""Approvals: bounds, who is the same person, and the channels that tell people."""

from __future__ import annotations

import msgspec

from sallyport.config import managed
from sallyport.config.check import Check
from sallyport.config.model import (
    ApprovalSettings,
    Config,
    IdentityLinks,
    MailSettings,
    SlackPersonSettings,
    SlackSettings,
)
from sallyport.core.yamltext import YamlPath


def approvals(check: Check, config: Config) -> ApprovalSettings:
    """The settings of approvals, with the secrets of their channels. Raises ConfigError."""
    settings, path = config.approvals, ("approvals",)
    for key in settings.limits.__struct_fields__:
        if getattr(settings.limits, key) <= 0:
            raise check.error((*path, "limits", key), "must be more than 0", "Write a number")
    _aliases(check, settings.identities)
    webhooks = []
    for i, hook in enumerate(settings.webhooks):
        check.url((*path, "webhooks", i, "url"), hook.url)
        secret = managed.secret(check, (*path, "webhooks", i, "secret"), hook.secret)
        webhooks.append(msgspec.structs.replace(hook, secret=secret))
    replaced: ApprovalSettings = msgspec.structs.replace(
        settings,
        webhooks=tuple(webhooks),
        mail=_mail(check, settings.mail),
        slack=_slack(check, config),
    )
    return replaced


def _aliases(check: Check, links: IdentityLinks) -> None:
    seen: set[str] = set()
    for i, names in enumerate(links.aliases):
        path: YamlPath = ("approvals", "identities", "aliases", i)
        if len(names) < 2 or not all(name.strip() for name in names):
            raise check.error(path, "two names or more are needed", "Write all names of one person")
        if again := seen & set(names):
            fix = "Write all names of one person in one list"
            raise check.error(path, f"{min(again)!r} stands in two lists", fix)
        seen |= set(names)


def _mail(check: Check, mail: MailSettings | None) -> MailSettings | None:
    if mail is None:
        return None
    path: YamlPath = ("approvals", "mail")
    if not mail.host or not mail.sender or not mail.to or not all(mail.to):
        fix = "Write the server, who sends and at least one address that receives"
        raise check.error(path, "host, from and to must not be empty", fix)
    if any(ord(c) < 32 for c in "".join((mail.sender, *mail.to))):
        raise check.error(path, "an address has a control character", "Remove it")
    port = mail.port or {"starttls": 587, "implicit": 465, "none": 25}[mail.tls]
    if not 0 < port < 65536:
        raise check.error((*path, "port"), f"{port} is not a port", "Write 1 to 65535")
    if bool(mail.user) != (mail.password is not None):
        raise check.error(path, "user and password belong together", "Write both, or neither")
    if mail.user and mail.tls == "none":
        fix = "Write 'tls: starttls' or 'tls: implicit'"
        raise check.error((*path, "tls"), "a password does not go out without TLS", fix)
    password = managed.secret(check, (*path, "password"), mail.password) if mail.password else None
    replaced: MailSettings = msgspec.structs.replace(mail, port=port, password=password)
    return replaced


def _slack(check: Check, config: Config) -> SlackSettings | None:
    slack = config.approvals.slack
    if slack is None:
        return None
    path: YamlPath = ("approvals", "slack")
    if config.console is None:
        fix = "Add 'console:'; Slack sends clicks to <console.public_url>/slack/interactions"
        raise check.error(path, "Slack needs the console", fix)
    if not slack.channel:
        raise check.error((*path, "channel"), "the value is empty", "Write a channel's id")
    check.url((*path, "api"), slack.api)
    people = {
        user: _slack_person(check, config, user, entry) for user, entry in slack.people.items()
    }
    replaced: SlackSettings = msgspec.structs.replace(
        slack,
        signing_secret=managed.secret(check, (*path, "signing_secret"), slack.signing_secret),
        bot_token=managed.secret(check, (*path, "bot_token"), slack.bot_token),
        people=people,
    )
    return replaced


def _slack_person(
    check: Check, config: Config, user: str, person: SlackPersonSettings
) -> SlackPersonSettings:
    path: YamlPath = ("approvals", "slack", "people", user)
    if not person.subject or "@" not in person.email:
        fix = "They keep people from approving their own statements"
        raise check.error(path, "subject and an e-mail address are needed", fix)
    issuers = [oidc.issuer for oidc in config.identity.oidc]
    issuers += [saml.entity_id for saml in config.identity.saml]
    if person.issuer and person.issuer not in issuers:
        fix = "Write one of them exactly, or remove the key: then it is the first"
        raise check.error((*path, "issuer"), "this issuer is not one of identity.oidc", fix)
    replaced: SlackPersonSettings = msgspec.structs.replace(
        person, issuer=person.issuer or issuers[0]
    )
    return replaced
