"""What detectors ask for at least, whatever an agent usually does. Baselines count a first value as
that much when it raised a finding, so both read it here (docs/watching.md has the same numbers).
"""

from __future__ import annotations

from typing import Final

#: Rows of one relation in an episode, or of one result.
ROWS: Final = 1000.0
#: Rows of one relation in a day (UTC).
DAY_ROWS: Final = 5000.0
#: Runs of one statement with LIMIT, OFFSET or FETCH; of one that compares by order or pattern.
PAGES: Final = 10
SEARCHES: Final = 15
#: Different statements that ask for one masked column.
MASKED: Final = 6
#: Totals of groups that differ in one condition on a person.
DIFFERENCES: Final = 5
#: Statements of forms that are new, where most of an episode's are.
FORMS: Final = 3
#: Networks and sessions of an episode.
NETWORKS: Final = 3
SESSIONS: Final = 10
#: Statements after which an episode counts as work.
BEGUN: Final = 3
#: Seconds since the login of a session that works.
SESSION_SECONDS: Final = 14_400.0
#: Relations that were never used before; so many are told whatever was usual.
RELATIONS: Final = 5
RELATIONS_EVER: Final = 15

#: By the first word of a peak's name.
LEAST: Final = {
    "rows": ROWS,
    "result": ROWS,
    "day": DAY_ROWS,
    "runs": float(PAGES),
    "masked": float(MASKED),
    "differences": float(DIFFERENCES),
    "networks": float(NETWORKS),
    "sessions": float(SESSIONS),
    "session": SESSION_SECONDS,
    "relations": float(RELATIONS),
}
