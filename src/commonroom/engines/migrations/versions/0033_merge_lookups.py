"""Indexes to look merges and parted persons up: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
