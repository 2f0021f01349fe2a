"""Measures that organisations define themselves: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
