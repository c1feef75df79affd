"""``SELECT sallyport.describe('words')``: the schema as policy opens it to the session's subject,
understood by the gateway alone.

The server gets a SELECT of the answer (JSON, :func:`sallyport.policy.described.described`) as a
constant, which is judged and recorded as any statement: what an agent was told can be replayed.
"""

from __future__ import annotations

import json
import re
from typing import Final

from sallyport.policy.described import described
from sallyport.session import two_phase
from sallyport.session.state import SessionState

_FORM: Final = re.compile(
    rb"\s*SELECT\s+sallyport\s*\.\s*describe\s*\(\s*(?:'((?:[^'\\\0]|'')*)')?\s*\)\s*;?\s*",
    re.IGNORECASE,
)


def own_text(session: SessionState, sql: bytes) -> bytes:
    """A text as it is judged and sent: the answer, where it is this one question; otherwise as
    :func:`sallyport.session.two_phase.with_own_prefix` has it.
    """
    form = _FORM.fullmatch(sql)
    if form is None:
        return two_phase.with_own_prefix(sql, session.names.subject)
    names = session.names
    words = (form[1] or b"").replace(b"''", b"'").decode("utf-8", "replace")
    answer = described(names.judge.subject_policy(names.subject), words)
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return b"SELECT '" + text.replace("'", "''").encode() + b"'::pg_catalog.text AS describe"
