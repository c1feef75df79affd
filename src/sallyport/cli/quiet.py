"""What the gateway's modules log while a command uses them: on standard error, never among what the
command prints.
"""

from __future__ import annotations

import sys


def log_to_stderr() -> None:
    """Warnings and errors only, with the time in UTC as the gateway's own log has it."""
    import logging

    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
