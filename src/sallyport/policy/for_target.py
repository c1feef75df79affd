"""What a target's credential adds to the policy. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from sallyport.policy.actions import DDL
from sallyport.policy.decision import Outcome
from sallyport.policy.model import Policy, Rule


def at_target(policy: Policy, target: str, credential: str) -> Policy:
    """The policy as it holds at ``target``. credential: static | ephemeral, as the configuration
    says.
    """
    return _without_ddl(policy, target) if credential == "ephemeral" else policy


def _without_ddl(policy: Policy, target: str) -> Policy:
    """The policy where nobody changes the schema of ``target``: a role that lives as long as its
    session must own nothing.
    """
    rule = Rule(
        name="ephemeral: no schema changes",
        effect=Outcome.DENY,
        actions=DDL,
        named=("ddl",),
        targets=(re.compile(re.escape(target)),),
        message="each session of this target has a temporary database role, which cannot own "
        "objects. "
        "Use a target with 'credential: static' for schema changes.",
    )
    return replace(policy, rules=(*policy.rules, rule))
