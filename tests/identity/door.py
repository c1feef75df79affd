"""The authenticator as tests use it: every login, good or refused, is also searched for text of its
token.
"""

from __future__ import annotations

import asyncio
import io
import json
import traceback
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from sallyport.core.clock import Clock
from sallyport.core.secret import Secret
from sallyport.core.subject import Subject
from sallyport.identity.authenticate import Authenticator, LoginRefused
from sallyport.identity.oidc.keys import CacheLimits
from sallyport.identity.settings import IssuerSettings

VAGUE = "[SP1601] not a valid token for this gateway"
UNREACHABLE = "[SP1601] the identity provider cannot be reached, so the token cannot be checked"
T = TypeVar("T")


class Door:
    """One authenticator with an event loop of its own. ``log`` holds what was logged; ``reason``
    why the last login failed.
    """

    def __init__(
        self,
        issuers: Sequence[IssuerSettings],
        clock: Clock,
        limits: CacheLimits | None = None,
        **more: Any,
    ) -> None:
        self.authenticator = Authenticator(issuers, clock, limits=limits, **more)
        self.jwt = self.authenticator.verifiers[-1]
        self.log: list[Any] = []
        self.reason = ""
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self.authenticator.close())
        self._runner.close()

    async def try_login(self, token: Secret, label: str = "claude") -> Subject | LoginRefused:
        """Log in; whatever comes of it, no text of the token may show anywhere."""
        rendered = io.StringIO()
        outcome: Subject | LoginRefused
        with structlog.testing.capture_logs() as entries:
            try:
                outcome = await self.authenticator.authenticate(token, label=label, entrance="wire")
            except LoginRefused as error:
                outcome = error
                rendered.write("".join(traceback.format_exception(error)))
                rendered.write(_frames(error))
                rendered.write(repr(error.refusal))
        self.log += entries
        rendered.write(json.dumps(entries, default=repr))
        rendered.write(repr(outcome))
        assert_absent(token, rendered.getvalue())
        return outcome

    def login(self, token: Secret, label: str = "claude") -> Subject:
        outcome = self.run(self.try_login(token, label))
        assert isinstance(outcome, Subject), f"refused: {outcome}, because {outcome.reason}"
        return outcome

    def refusal(self, token: Secret) -> str:
        """The message of a login that must fail; sets ``reason``."""
        outcome = self.run(self.try_login(token))
        assert isinstance(outcome, LoginRefused), f"accepted: {outcome}"
        assert (outcome.refusal.code.id, outcome.refusal.sqlstate) == ("SP1601", "28P01")
        assert outcome.refusal.hint or "announces" in outcome.refusal.message
        self.reason = outcome.reason
        return outcome.refusal.text


def _frames(error: BaseException) -> str:
    """Everything a debugger or a rich traceback would show of an error: locals of its frames, and
    of what it chains to.
    """
    texts = []
    step: BaseException | None = error
    while step is not None:
        for frame, _ in traceback.walk_tb(step.__traceback__):
            if frame.f_code.co_filename.endswith("authenticate.py"):
                texts.append(repr(frame.f_locals))
        if step is not error:
            texts.append(repr(vars(step)))
        step = step.__context__ or step.__cause__
    return "\n".join(texts)


def assert_absent(token: Secret, text: str) -> None:
    """No part of the token that is long enough to mean something is in the text."""
    for part in (token.reveal(), *token.reveal().split(".")):
        if len(part) >= 12:
            assert part not in text, "the token shows"
            assert part[:40] not in text or len(part) < 40, "a piece of the token shows"
