"""Alembic's entry: one connection, one advisory lock, one transaction for all missing revisions."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import make_url

LOCK = 0x636F6D6D  # any constant: who holds it migrates, others wait

url = make_url(context.config.attributes["dsn"]).set(drivername="postgresql+psycopg")
engine = create_engine(url, poolclass=pool.NullPool)
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.configure(connection=connection, transactional_ddl=True)
    # The lock opened a transaction: Alembic works inside it, we commit it.
    context.run_migrations()
    connection.commit()
