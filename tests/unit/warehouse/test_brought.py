"""What was brought of facts told, corrected and withdrawn at random: of each the last that came in a span counts."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from random import Random

import duckdb
import msgspec
import pyarrow as pa
import pytest

from commonroom.warehouse import brought, tables
from commonroom.warehouse.brought import Brought, Span
from commonroom.warehouse.facts import Change, Fact, plan

MARKS = tables.of("attendance_mark")
DAY = date(2026, 9, 1)
FIRST = datetime(2026, 9, 1)  # noqa: DTZ001 - UTC without a zone
SPANS = (Span(FIRST, FIRST + timedelta(days=10)), Span(FIRST + timedelta(days=20)))


def fact(pupil: str, code: str, version: int, position: int) -> Fact:
    known = dict(zip(MARKS.key, ("990001", pupil, DAY, "AM"), strict=True)) | {"code": code}
    return Fact(
        key=tuple(known[name] for name in MARKS.key), valid_from=DAY, valid_to=None,
        items=tuple(known.get(name) for name in MARKS.items), weight=1, version=version, known_position=position,
        known_from=FIRST + timedelta(hours=12 * position), message=f"m{position}", sender="s", learner_id=None,
    )  # fmt: skip


def letters(random: Random) -> list[Change]:
    """Two letters a day for up to thirty days, of up to three of four pupils; many come with versions of before."""
    return [
        Change(fact(pupil, random.choice("LNU"), random.randint(1, 6), position), random.random() < 0.25)
        for position in range(random.randint(5, 60))
        for pupil in random.sample("1234", random.randint(1, 3))
    ]


def held(changes: list[Change]) -> dict[str, str]:
    """The codes that one has who was sent only what came in the spans, and what the warehouse took."""
    newest: dict[str, int] = {}
    found: dict[str, str] = {}
    for change in changes:
        said = change.fact
        pupil = said.key[MARKS.key.index("upn")]
        if said.version <= newest.get(pupil, 0):
            continue
        newest[pupil] = said.version
        if any(span.since <= said.known_from < span.until for span in SPANS):
            found.pop(pupil, None)
            if not change.withdrawn:
                found[pupil] = said.items[MARKS.items.index("code")]
    return found


@pytest.mark.parametrize("seed", range(12))
def test_of_each_fact_the_last_that_was_brought_counts(seed: int) -> None:
    changes = letters(Random(seed))
    rows = [msgspec.structs.replace(one, learner_id="1") for one in plan(changes, {})]
    times = Brought({"s": SPANS})
    with duckdb.connect() as connection:
        connection.register("facts", MARKS.to_arrow(rows))
        connection.register("granted", times.table())
        sent = brought.sent("SELECT * FROM facts", "granted", times)
        late = [message for (message,) in connection.execute(brought.earlier(sent)).fetchall()]
        connection.register("late", pa.table({"message": pa.array(late, pa.string())}))
        counted = brought.counted(MARKS, sent, "late", ["upn", "code", "weight"])
        live = connection.execute(
            f"SELECT upn, code, sum(weight) FROM ({counted}) GROUP BY ALL HAVING sum(weight) <> 0"
        ).fetchall()
    assert sorted(live) == sorted((pupil, code, 1) for pupil, code in held(changes).items())
