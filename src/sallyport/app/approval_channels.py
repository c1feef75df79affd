"""From the configuration's ``approvals`` to what the approvals service is given.

:func:`open_channels` starts one thread per channel; :meth:`Channels.close` ends them. Secrets are
read here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from sallyport.approvals.channels.notify import EVENTS, Mail, MailSettings, Webhook
from sallyport.approvals.channels.slack import Slack, SlackPerson, SlackSettings
from sallyport.approvals.people import Identities
from sallyport.approvals.states import FloodLimits
from sallyport.config import ApprovalSettings
from sallyport.config.secrets import Resolve
from sallyport.core.errors import ConfigError, SallyportError


@dataclass(frozen=True, slots=True)
class Channels:
    """notifiers: those that tell somebody; ``slack`` is one of them."""

    notifiers: tuple[Webhook | Mail | Slack, ...]
    slack: Slack | None
    limits: FloodLimits
    identities: Identities

    def close(self) -> None:
        """Blocks for some seconds at most, while the last messages go out."""
        for notifier in self.notifiers:
            notifier.close()


async def open_channels(settings: ApprovalSettings, console: str, resolve: Resolve) -> Channels:
    """``console``: its public address, "" without one. Raises ConfigError; then nothing was
    started.
    """
    opened: list[Webhook | Mail | Slack] = []
    try:
        for i, hook in enumerate(settings.webhooks):
            secret = await resolve(hook.secret, f"approvals.webhooks[{i}].secret")
            events = EVENTS if hook.events is None else hook.events
            # The configuration takes http only for loopback addresses.
            opened.append(
                Webhook(hook.url, secret, console=console, allow_http=True, events=events)
            )
        if settings.mail is not None:
            opened.append(await _mail(settings, console, resolve))
        slack = await _slack(settings, console, resolve)
    except SallyportError as error:
        for notifier in opened:
            notifier.close()
        raise (
            error if isinstance(error, ConfigError) else ConfigError(f"approvals: {error}")
        ) from error
    limits, links = settings.limits, settings.identities
    return Channels(
        (*opened, slack) if slack is not None else tuple(opened),
        slack,
        FloodLimits(
            per_subject=limits.open_per_subject,
            total=limits.open_total,
            per_hour=limits.per_hour,
            per_minute=limits.per_minute,
            expires_seconds=limits.expires_seconds,
        ),
        Identities(links.claims, {name: names[0] for names in links.aliases for name in names}),
    )


async def _mail(settings: ApprovalSettings, console: str, resolve: Resolve) -> Mail:
    mail = settings.mail
    if mail is None or mail.port is None:
        raise ConfigError("approvals.mail: the configuration was not checked")
    password = (
        None if mail.password is None else await resolve(mail.password, "approvals.mail.password")
    )
    return Mail(
        MailSettings(mail.host, mail.port, mail.sender, mail.to, mail.user, password, mail.tls),
        console=console,
    )


async def _slack(settings: ApprovalSettings, console: str, resolve: Resolve) -> Slack | None:
    slack = settings.slack
    if slack is None:
        return None
    people = {
        user: SlackPerson(entry.subject, entry.issuer, entry.email, frozenset(entry.groups))
        for user, entry in slack.people.items()
    }
    wired = SlackSettings(
        signing_secret=await resolve(slack.signing_secret, "approvals.slack.signing_secret"),
        bot_token=await resolve(slack.bot_token, "approvals.slack.bot_token"),
        channel=slack.channel,
        people=people,
        team=slack.team,
        api=slack.api,
    )
    return Slack(wired, console=console, allow_http=True)


def reviewer_places(settings: ApprovalSettings) -> list[tuple[str, str, int]]:
    """(what, host, port) of where people are told of held statements."""
    urls = [("webhook", hook.url) for hook in settings.webhooks]
    if settings.slack is not None:
        urls.append(("Slack", settings.slack.api))
    places = []
    for what, url in urls:
        parts = urlsplit(url)
        places.append(
            (what, parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
        )
    if (mail := settings.mail) is not None:
        places.append(
            (
                "mail",
                mail.host,
                mail.port or {"starttls": 587, "implicit": 465, "none": 25}[mail.tls],
            )
        )
    return places
