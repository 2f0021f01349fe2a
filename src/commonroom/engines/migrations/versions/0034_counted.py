"""The trail of reads says whose records were counted: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
