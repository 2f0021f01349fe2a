"""Faults: what a database that is away looks like, and how faults of our own are logged."""

from __future__ import annotations

import traceback

import asyncpg

from commonroom import log

# What a database that is away or coming back looks like from here.
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)

_logger = log.get("hub")


def log_fault(event: str, error: Exception) -> None:
    """Log where a fault happened, without its message: database messages quote values."""
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]
    _logger.error(event, error=type(error).__name__, frames=frames)
