"""The hub's large bodies: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
