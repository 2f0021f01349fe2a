"""Alembic's entry: one connection, one advisory lock, one transaction for all missing revisions."""

from __future__ import annotations

import psycopg
from alembic import context
from sqlalchemy import create_engine, pool, text

LOCK = 0x636F6D6D  # any constant: who holds it migrates, others wait

conninfo = context.config.attributes["conninfo"]
# Connected here and not by URL: SQLAlchemy's form of several servers is not PostgreSQL's.
engine = create_engine(
    "postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo), poolclass=pool.NullPool
)
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, transactional_ddl=True)
    # The lock opened a transaction: Alembic works inside it, we commit it.
    context.run_migrations()
    connection.commit()
