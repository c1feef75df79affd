"""How the roles that the gateway makes for sessions are called
(:mod:`sallyport.targets.ephemeral`), as regular expressions of PostgreSQL.
"""

from __future__ import annotations

from typing import Final

SESSION_ROLES: Final = "^sallyport_[0-9a-f]{8}_[0-9a-f]{6}_[0-9a-f]{12}$"
#: Of session roles and of grant roles. For catalogs: nothing of what statements mean depends on
#: them.
ROLES: Final = "^sallyport_([0-9a-f]{8}_[0-9a-f]{6}_[0-9a-f]{12}|grants_[0-9a-f]{8}_[0-9a-f]{16})$"
