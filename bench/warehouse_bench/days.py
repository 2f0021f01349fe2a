"""A school year, worked out from nothing, and then one more day: its marks, and corrections of the days before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from commonroom.standard import terms
from commonroom.warehouse import measures, periods
from commonroom.warehouse.partials import Partials
from commonroom.warehouse.spans import time_of
from warehouse_bench.nation import Nation
from warehouse_bench.store import MARKS, REGISTER, Store, Took

MEASURES = (
    "absence_overall",
    "absence_authorised",
    "absence_unauthorised",
    "persistent_absence",
    "severe_absence",
)
DAYS, NEW_DAYS = 190, 5


async def measure(store: Store, maker: duckdb.DuckDBPyConnection, nation: Nation, say: Any) -> dict[str, Any]:
    """Load all days of a year but the last ones, work all figures out; then day after day, and what each one costs."""
    days = terms.school_days(date(2025, 9, 1), date(2026, 8, 31))[:DAYS]
    store.append(REGISTER, nation.register())
    pattern = [
        pa.concat_tables(list(nation.day(maker, day))) for day in days[:5]
    ]  # every week is like the first
    rows = 0
    for place in range(0, DAYS - NEW_DAYS, 10):
        some = [
            _on(pattern[number % 5], days[number])
            for number in range(place, min(place + 10, DAYS - NEW_DAYS))
        ]
        rows += sum(chunk.num_rows for chunk in some)
        store.append(MARKS, pa.concat_tables(some))
    head = await store.announce()
    say(f"a year of {rows:,} rows stored")
    wanted = _periods(days)
    full = Took()
    partials = Partials(store.settings, store.duck)
    with full.more():
        for name in MEASURES:
            partials.rows(measures.named(name), head, wanted)
    say(f"worked out in {full.wall:.1f} s")
    refreshes = []
    for number in range(DAYS - NEW_DAYS, DAYS):
        day = days[number]
        late = [_corrected(_on(pattern[old % 5], days[old])) for old in range(DAYS - 20, DAYS - 15)]
        store.append(MARKS, pa.concat_tables([_on(pattern[number % 5], day), *late]))
        head = await store.announce()
        took = Took()
        with took.more():  # a release is a term with its weeks and days
            asked = _periods([_term_began(day), day])
            for name in MEASURES:
                partials.rows(measures.named(name), head, asked)
        refreshes.append(took)
    last_term = _periods([_term_began(days[-1]), days[-1]])
    after = [partials.rows(measures.named(name), head, last_term) for name in MEASURES]
    anew = Partials(_elsewhere(store), store.duck)
    for name, kept in zip(MEASURES, after, strict=True):
        if not kept or _by_cell(kept) != _by_cell(anew.rows(measures.named(name), head, last_term)):
            raise RuntimeError(f"{name}: figures brought up to date are not those of all facts")
    return {
        "schools": nation.schools,
        "rows": rows,
        "periods": len(wanted),
        "measures": len(MEASURES),
        "year_s": {"wall": round(full.wall, 3), "cpu": round(full.cpu, 3)},
        "new_day_s": {
            "wall": round(statistics.median(one.wall for one in refreshes), 3),
            "cpu": round(statistics.median(one.cpu for one in refreshes), 3),
        },
        "year_to_new_day": {
            "wall": round(full.wall / statistics.median(one.wall for one in refreshes), 1),
            "cpu": round(full.cpu / statistics.median(one.cpu for one in refreshes), 1),
        },
    }


def _periods(days: list[date]) -> Mapping[str, list[date]]:
    """Every day, week and term from the first of these days to the last, by name."""
    named = measures.named(MEASURES[0])
    return {
        time_of(named, period): period.days()
        for grain in ("day", "week", "term")
        for period in periods.between(grain, days[0], days[-1], days[-1])
    }


def _term_began(day: date) -> date:
    term = terms.term_of(day)
    return day if term is None else term.first


def _on(chunk: pa.Table, day: date) -> pa.Table:
    """The same marks on another day."""
    dates = pa.repeat(pa.scalar(day, pa.date32()), chunk.num_rows)
    for name in ("date", "valid_from"):
        chunk = chunk.set_column(chunk.schema.get_field_index(name), chunk.schema.field(name), dates)
    return chunk


def _corrected(chunk: pa.Table) -> pa.Table:
    """One school in fifty tells some marks of that day anew."""
    some = chunk.filter(pc.equal(pc.bit_wise_and(chunk["known_position"], 63), 7)).slice(0, 200)
    index = some.schema.get_field_index("weight")
    undone = some.set_column(index, "weight", pc.negate(some["weight"]))
    code = some.schema.get_field_index("code")
    told = some.set_column(code, "code", pa.array(["I"] * some.num_rows, pa.string()))
    return pa.concat_tables([undone, told])


def _elsewhere(store: Store) -> Any:
    """The same facts, with nothing kept: `.partials` under another name."""
    folder = store.settings.folder("warehouse") / ".partials"
    folder.rename(folder.with_name(".partials-before"))
    return store.settings


def _by_cell(rows: Any) -> set[tuple[Any, ...]]:
    return {tuple(row.values()) for row in rows}
