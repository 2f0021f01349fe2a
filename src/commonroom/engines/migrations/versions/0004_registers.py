"""First tables of registers: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
