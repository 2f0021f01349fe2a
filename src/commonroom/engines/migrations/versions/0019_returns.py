"""Returns: who owes them, their versions, findings, notes and steps: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
