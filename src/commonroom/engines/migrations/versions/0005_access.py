"""First tables of access: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
