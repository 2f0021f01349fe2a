"""The job queue's own tables, as its library gives them, and when each recurring job last ran."""

from procrastinate.schema import SchemaManager

from commonroom.engines.migrations import run_sql_beside, run_statements

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the statements."""
    run_statements(SchemaManager.get_schema())
    run_sql_beside(__file__)
