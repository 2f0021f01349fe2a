"""The hub's quotas: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
