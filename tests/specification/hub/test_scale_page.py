"""docs/scale.md: the figures of the nation's day are those of the pattern that the benchmark runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = " ".join((ROOT / "docs" / "scale.md").read_text("utf-8").split())


@pytest.fixture(scope="module")
def pattern() -> object:
    """The benchmark's module, which is no part of the package."""
    sys.path.append(str(ROOT / "bench"))
    from national import pattern

    sys.path.remove(str(ROOT / "bench"))
    return pattern


def test_the_day_on_the_page_is_the_one_that_is_run(pattern: object) -> None:
    day = pattern.day(pattern.NATION_SCHOOLS, 2026)  # type: ignore[attr-defined]
    most = pattern.most_within  # type: ignore[attr-defined]
    assert f"{len(day):,} messages a day" in PAGE
    assert f"{round(sum(sending.size for sending in day) / 1e6)} MB of bodies" in PAGE
    assert (
        f"At most {most(day, 1)} messages in a second, {most(day, 60):,} in a minute "
        f"({most(day, 60) / 60:.0f}/s), {most(day, 900):,} in a quarter of an hour" in PAGE
    )
    minute = len(pattern.registers(pattern.NATION_SCHOOLS))  # type: ignore[attr-defined]
    assert f"{minute:,} letters, {minute / 60:.0f}/s" in PAGE
    plain, sent = pattern.plain_bytes(250), pattern.body_bytes(250)  # type: ignore[attr-defined]
    assert f"250 marks are {plain / 1000:.1f} KB of JSON and {sent / 1000:.1f} KB compressed" in PAGE
