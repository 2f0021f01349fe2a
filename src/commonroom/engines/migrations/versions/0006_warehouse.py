"""First tables of warehouse: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
