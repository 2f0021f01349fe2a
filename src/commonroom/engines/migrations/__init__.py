"""Migrations: Alembic revisions whose steps are plain SQL files standing beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op


def run_sql_beside(revision_file: str) -> None:
    """Run the SQL file that has the revision's name."""
    run_statements(Path(revision_file).with_suffix(".sql").read_text("utf-8"))


def run_statements(statements: str) -> None:
    """Run several statements at once."""
    # The driver's own connection: SQLAlchemy would read `%` and `:name` in the text as parameters.
    driver: Any = op.get_bind().connection.driver_connection
    driver.execute(statements)
