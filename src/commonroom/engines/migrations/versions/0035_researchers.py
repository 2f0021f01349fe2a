"""Researchers sign in for their organisation: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
