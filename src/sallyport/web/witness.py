"""``POST /witness/add-checkpoint``: this gateway cosigns the checkpoints of other logs (C2SP
tlog-witness).

No sign-in: the request carries a checkpoint, and nothing of it is believed before the signature of
a log that the configuration names is checked.
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sallyport.web.console import console_of

PATH = "/witness/add-checkpoint"


async def add_checkpoint(request: Request) -> Response:
    """404 also when this gateway cosigns for nobody."""
    cosigner = console_of(request).services.cosigner
    if cosigner is None:
        return PlainTextResponse("This gateway cosigns for nobody (audit.cosign).\n", 404)
    answer = await run_in_threadpool(cosigner.add_checkpoint, await request.body())
    return Response(answer.text, answer.status, media_type=answer.content_type)
