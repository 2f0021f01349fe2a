"""First tables of engines: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
