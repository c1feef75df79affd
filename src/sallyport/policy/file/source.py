"""The policy in force, from a file that may change, be broken or be gone.

A policy is taken whole or not at all. While the gateway runs, a file that cannot be used leaves
the policy in force as it is. When it starts, the version that was in force last is taken in place
of such a file; without one it does not start: there is never no policy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sallyport.core.errors import ConfigError
from sallyport.policy.file.load import load_policy, parse_policy
from sallyport.policy.model import Policy
from sallyport.policy.versions import PolicyVersion

#: No file has this mark.
_TRY_AGAIN: Final = (-1,)


class PolicyFile:
    """``current``: the policy in force. ``problem``: why the file as it is now was not taken, ""
    when it was. ``failures``: how often a file was not taken.

    ``check`` raises ConfigError for a policy that this gateway cannot use. ``last_good`` gives
    the version that was in force last, None without one; it is asked when the first load fails,
    and counts only if it came from the same path: a configuration that names another file asks
    for another policy. Raises ConfigError when there is nothing to start with.
    """

    def __init__(
        self,
        path: Path | str,
        check: Callable[[Policy], None] | None = None,
        last_good: Callable[[], PolicyVersion | None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.problem = ""
        self.failures = 0
        self._check = check
        self._lock = threading.Lock()
        self._seen = self._mark()
        try:
            self.current = self._load()
        except ConfigError as error:
            self.current = self._in_place_of_the_file(
                error, last_good() if last_good is not None else None
            )
            self.problem = str(error)
            self.failures = 1

    def _load(self) -> Policy:
        policy = load_policy(self.path)
        if self._check is not None:
            self._check(policy)
        return policy

    def _in_place_of_the_file(self, error: ConfigError, version: PolicyVersion | None) -> Policy:
        """The version that was in force last. An older one is never tried: it may allow what was
        forbidden since.
        """
        if version is None or version.filename != str(self.path):
            raise error
        try:
            policy = parse_policy(version.text, version.filename)
            if self._check is not None:
                self._check(policy)
        except ConfigError as stored:
            raise ConfigError(
                f"{error}. The version that was in force last, {version.version}, cannot be used"
                f" either: {stored}"
            ) from None
        return policy

    def _mark(self) -> tuple[int, ...]:
        """Changes whenever the file may have changed, and costs no reading."""
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_ino, status.st_size, status.st_ctime_ns

    def changed(self) -> bool:
        """Whether a :meth:`reload` has anything to look at."""
        return self._mark() != self._seen

    def _not_taken(self, problem: str) -> tuple[bool, str]:
        self.problem = problem
        self.failures += 1
        return False, problem

    def reload(self) -> tuple[bool, str | None]:
        """Load the file again. (True, None): a new policy is in force; (False, None): unchanged;
        (False, text): invalid, old one kept. What failed for another reason than the file's text is
        due again.
        """
        with self._lock:
            self._seen = self._mark()
            try:
                policy = self._load()
            except ConfigError as error:
                return self._not_taken(str(error))
            except Exception as error:  # noqa: BLE001  logged; the last good policy stays
                self._seen = _TRY_AGAIN
                return self._not_taken(
                    f"{self.path}: it could not be read: {type(error).__name__}: {error}"
                )
            self.problem = ""
            if policy.version == self.current.version:
                return False, None
            self.current = policy
            return True, None
