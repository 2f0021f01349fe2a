"""The register of providers, second part: see the SQL file beside this one."""

from commonroom.engines.migrations import run_sql_beside

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Run the statements."""
    run_sql_beside(__file__)
