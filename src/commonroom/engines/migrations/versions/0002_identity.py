"""First tables of identity: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
