"""How often names are borne in the register of learners: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
