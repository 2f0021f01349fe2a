"""The hub's push: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
