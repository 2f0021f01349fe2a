"""Faults: what a database that is away looks like, and how faults of the hub are logged."""

from __future__ import annotations

from commonroom import log
from commonroom.engines.database import DATABASE_AWAY

__all__ = ["DATABASE_AWAY", "log_fault"]

_logger = log.get("hub")


def log_fault(event: str, error: Exception) -> None:
    """Log a fault of the hub."""
    log.fault(_logger, event, error)
