"""Structured logs: one JSON object a line on standard error, never with personal data."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog


def configure(process: str, level: str = "info") -> None:
    """Set up logging for this process; `process` names it on every line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(name)s %(message)s", force=True
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def fault(logger: Any, event: str, error: BaseException) -> None:
    """Log where a fault happened, without its message: database messages quote values."""
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]
    logger.error(event, error=type(error).__name__, frames=frames)


def get(name: str) -> Any:
    """A logger whose lines carry `room=name`."""
    return structlog.get_logger(room=name)
