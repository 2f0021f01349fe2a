"""What was published stays: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
