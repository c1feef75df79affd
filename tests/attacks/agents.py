"""Who attacks, and the policy that each of them meets."""

from __future__ import annotations

import yaml

from sallyport.core.secret import Secret
from sallyport.demo.issuer import DemoClient
from tests.attacks.worlds import HERE

AGENTS = ("strict", "lenient", "tester", "opener", "builder", "held", "denier", "copier")
REVIEWER = "approver"
#: What they are shown depends on the values, as their policy says.
SHOWN_SOME = ("lenient", "opener")
CLIENTS = {name: DemoClient(name, Secret("demo"), (name,)) for name in (*AGENTS, REVIEWER)}
#: What "strict" may, waits for "held".
_ALLOWED, HELD = "strict", "held"


def attacked_policy() -> str:
    """The policy of the file. All that it allows the strict agent waits for another one, for whom
    the same columns are masked.
    """
    policy = yaml.safe_load((HERE / "policy.yaml").read_text())
    for rule in [rule for rule in policy["rules"] if _ALLOWED in rule["subjects"]["groups"]]:
        held = {key: value for key, value in rule.items() if key != "allow"} | {
            "name": f"{rule['name']}, held",
            "subjects": {"groups": [HELD]},
            "hold": rule["allow"],
            "reviewers": {"groups": [REVIEWER]},
        }
        rule["subjects"]["groups"].append(HELD)
        policy["rules"].append(held)
    return yaml.safe_dump(policy, sort_keys=False)
