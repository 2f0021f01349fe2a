"""Who may submit for whom: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
