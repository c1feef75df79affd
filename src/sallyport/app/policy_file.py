"""The policy that a gateway starts with, and what only configuration and policy together show."""

from __future__ import annotations

from functools import partial

import structlog

from sallyport.config import Config
from sallyport.config.storage import SharedStore
from sallyport.core.errors import ConfigError
from sallyport.policy.file.published import PublishedPolicy
from sallyport.policy.file.source import PolicyFile
from sallyport.policy.model import Policy
from sallyport.store.policies import SqlPolicyVersions
from sallyport.store.publishedpolicies import SqlPublishedPolicies

log = structlog.get_logger("sallyport")


def check_together(config: Config, policy: Policy) -> None:
    """What only configuration and policy together can show. Raises ConfigError."""
    for key in sorted(policy.hash_keys() - config.mask_keys.keys()):
        raise ConfigError(
            f"{policy.filename}: a hash mask uses the key {key!r}, which is not in the"
            f" configuration. Add 'mask_keys: {{{key}: {{file: ...}}}}' there"
        )


def open_policy_file(
    config: Config, versions: SqlPolicyVersions, published: SqlPublishedPolicies | None
) -> PolicyFile:
    """The policy to start with: the published one, or the file's, or loudly the last good one.
    Raises ConfigError when there is none.
    """
    check, shared = partial(check_together, config), config.store
    if published and isinstance(shared, SharedStore) and shared.policy == "published":
        return PublishedPolicy(config.policy_path, published, check)
    policy = PolicyFile(
        config.policy_path, check=check, last_good=lambda: next(iter(versions.recent(1)), None)
    )
    if policy.problem:
        log.error(
            "the policy file cannot be used; the version that was in force last is",
            version=policy.current.version,
            reason=policy.problem,
        )
    return policy
