"""Every operation of the REST interface."""

from __future__ import annotations

from sallyport.web.api.approvals import APPROVALS
from sallyport.web.api.findings import FINDINGS
from sallyport.web.api.management import MANAGEMENT
from sallyport.web.api.operations import Operation
from sallyport.web.api.policies import POLICIES
from sallyport.web.api.receipts import RECEIPTS
from sallyport.web.api.sessions import SESSIONS
from sallyport.web.api.statements import STATEMENTS
from sallyport.web.api.tokens import TOKENS

OPERATIONS: tuple[Operation, ...] = (
    *SESSIONS,
    *APPROVALS,
    *POLICIES,
    *STATEMENTS,
    *RECEIPTS,
    *TOKENS,
    *FINDINGS,
    *MANAGEMENT,
)
