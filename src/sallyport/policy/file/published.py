"""The policy in force, from the store that gateways share: whichever version was published last.

The file beside the configuration decides nothing then; :func:`difference` says when it is another
policy. A gateway takes a version as it takes a changed file: whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sallyport.core.errors import ConfigError
from sallyport.policy.file.load import load_policy, parse_policy
from sallyport.policy.file.source import PolicyFile
from sallyport.policy.model import Policy


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """``number``: counts up. ``version``: hash of its text and packs, as the publisher had them.
    ``published``: Unix seconds.
    """

    number: int
    version: str
    text: str
    published: float
    publisher: str


class PublishedPolicies(Protocol):
    """Where they are."""

    def newest(self) -> PublishedVersion | None:
        """None: nothing was published. Raises ConfigError for one that was changed in the store."""

    def newest_version(self) -> tuple[int, str]:
        """Its number and version, (0, "") without one; not checked."""


class PublishedPolicy(PolicyFile):
    """See :class:`~sallyport.policy.file.source.PolicyFile`. ``number``: of the version in force.
    ``file``: that the configuration names. An older version than the one in force is not taken.
    Raises ConfigError when nothing usable is published.
    """

    def __init__(
        self, file: Path, policies: PublishedPolicies, check: Callable[[Policy], None] | None = None
    ) -> None:
        self._policies = policies
        self.number = self._newest = 0
        super().__init__(file, check)

    def look(self) -> None:
        """See whether another version was published. Blocks; any thread."""
        self._newest = self._policies.newest_version()[0]

    def _mark(self) -> tuple[int, ...]:
        return (self._newest,)

    def _load(self) -> Policy:
        published = self._policies.newest()
        if published is None:
            raise ConfigError(
                "no policy is published in the store. Publish one with 'sallyport policy publish',"
                " or write 'policy: file' under 'store'"
            )
        if published.number < self.number:
            raise ConfigError(
                f"the published policy {self.number}, which is in force, is not in the store any"
                f" more. Publish it again"
            )
        policy = parse_policy(published.text, f"published policy {published.number}")
        if self._check is not None:
            self._check(policy)
        self.number = self._newest = published.number
        return policy


def difference(source: PolicyFile, newest: tuple[int, str]) -> str:
    """How what is in force differs from what people may expect, in words; "" where it does not.
    ``newest``: of :meth:`PublishedPolicies.newest_version`. Reads the file.
    """
    number, version = newest
    current = source.current.version
    if not isinstance(source, PublishedPolicy):
        is_other = number and version != current
        return f"it runs its file; version {version} is published" if is_other else ""
    if number == source.number and version != current:
        return f"its packs are not those of the published version {version}"
    try:
        file = load_policy(source.path).version
    except ConfigError:
        return f"its file {source.path} cannot be used"
    return f"its file {source.path} is the version {file}" if file != current else ""
