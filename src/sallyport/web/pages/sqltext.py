"""SQL laid out for reading: inert, escaped, with spans for what PostgreSQL's lexer would see.

Colour only; nothing is decided by it. Text that cannot be told apart stays plain. Works on the
inert text, so what is coloured is what is shown.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from sallyport.audit.display import inert

_KEYWORDS = frozenset(
    """
    ADD ALL ALTER ANALYZE AND ANY AS ASC BEGIN BETWEEN BY CALL CASCADE CASE CAST CHECK COLUMN COMMIT
    CONFLICT CONSTRAINT COPY CREATE CROSS CURRENT_DATE CURRENT_TIMESTAMP CURRENT_USER CURSOR DECLARE
    DEFAULT DELETE DESC DISTINCT DO DROP ELSE END EXCEPT EXECUTE EXISTS EXPLAIN FALSE FETCH FILTER
    FIRST FOR FOREIGN FROM FULL FUNCTION GRANT GROUP HAVING ILIKE IN INDEX INNER INSERT INTERSECT
    INTERVAL INTO IS JOIN KEY LATERAL LEFT LIKE LIMIT LOCK MATERIALIZED MERGE NATURAL NOT NOTHING
    NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION PREPARE PRIMARY RECURSIVE REFERENCES
    RETURNING REVOKE RIGHT ROLLBACK ROW ROWS SAVEPOINT SELECT SET SHOW SIMILAR SOME TABLE THEN TO
    TRANSACTION TRIGGER TRUE TRUNCATE UNION UNIQUE UPDATE USING VALUES VIEW WHEN WHERE WINDOW WITH
    """.split()
)
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)
        |[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z))
    |(?P<name>"(?:[^"]|"")*(?:"|\Z))
    |(?P<parameter>\$\d+)
    |(?P<number>(?<![\w$])\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][\w$]*)""",
    re.VERBOSE | re.DOTALL,
)
#: Longer texts are shown, not coloured.
_LONGEST = 50_000


def highlight(sql: str) -> Markup:
    """HTML of one statement."""
    text = inert(sql, newlines=True)
    if len(text) > _LONGEST:
        return Markup(escape(text))
    out: list[str] = []
    at = 0
    for token in _TOKEN.finditer(text):
        out.append(str(escape(text[at : token.start()])))
        at = token.end()
        kind = token.lastgroup or ""
        if kind == "tag":
            kind = "string"
        shown = escape(token[0])
        if kind == "word":
            kind = "keyword" if token[0].upper() in _KEYWORDS else ""
        out.append(f'<span class="sql-{kind}">{shown}</span>' if kind else str(shown))
    out.append(str(escape(text[at:])))
    return Markup("".join(out))
