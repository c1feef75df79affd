"""The databases behind the door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from starlette.responses import Response

from sallyport.policy.coverage import ColumnCoverage, Coverage, column_data
from sallyport.web.console import Visit

#: Columns that the page lists of one target; `sallyport policy coverage` lists all.
_LISTED = 2000


async def show(visit: Visit) -> Response:
    """Each target with its state and the columns that are masked, clear, or look personal."""
    gateway = visit.services.gateway
    targets = gateway.targets()
    columns = {target.name: gateway.coverage(target.name) for target in targets}
    return visit.page(
        "targets.html",
        targets=targets,
        columns={
            name: [column_data(c) for c in _personal_first(listed)[:_LISTED]]
            for name, listed in columns.items()
        },
        counts={name: Counter(c.state.value for c in listed) for name, listed in columns.items()},
        totals={name: len(listed) for name, listed in columns.items()},
    )


def _personal_first(columns: Sequence[ColumnCoverage]) -> list[ColumnCoverage]:
    return sorted(columns, key=lambda column: column.state is not Coverage.LOOKS_PERSONAL)
