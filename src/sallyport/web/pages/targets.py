"""The databases behind the door."""

from __future__ import annotations

from starlette.responses import Response

from sallyport.web.console import Visit


async def show(visit: Visit) -> Response:
    return visit.page("targets.html", targets=visit.services.gateway.targets())
