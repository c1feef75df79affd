"""The gateway's own log, and what keeps its memory private."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from sallyport.config import Config

log = structlog.get_logger("sallyport")

_PR_SET_DUMPABLE = 4


def configure_logging(config: Config, worker: int | None = None) -> None:
    """Structured lines on standard error: for people, or JSON. ``worker``: which one says it, where
    there are several.
    """
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if config.log.format == "json"
        # Plain: a traceback with local variables would put rows and requests into the log.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )

    def number(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("worker", worker)
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([number] if worker is not None else []),
            *([structlog.processors.format_exc_info] if config.log.format == "json" else []),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, config.log.level.upper())
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def keep_memory_private() -> None:
    """No core dump, and no other process of this user, gets at the secrets in memory (prctl(2),
    PR_SET_DUMPABLE).
    """
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(
        _PR_SET_DUMPABLE, 0, 0, 0, 0
    ):
        log.warning("core dumps may hold secrets", reason=os.strerror(ctypes.get_errno()))
