"""The hub's assurance: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
