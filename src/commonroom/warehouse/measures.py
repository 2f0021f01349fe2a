"""Measures as declarations: measures/*.yaml, each figure defined once, in two stages.

First per *unit* (an enrolment, say) over the whole period, then per group of units. Both stages are whole numbers; what
is shown is made of them at the edge (see `disclosure`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import ibis
import msgspec

from commonroom import declarations, standard
from commonroom.problems import Problem, add_codes
from commonroom.standard import Codeset
from commonroom.warehouse import characteristics, tables
from commonroom.warehouse.characteristics import MOMENTS, PUPILS
from commonroom.warehouse.expressions import Expression

add_codes({"CR-063": "There is no such figure"})

FOLDER = Path(__file__).parent / "measures"
Level = Literal["school", "trust", "authority", "region", "national"]
Grain = Literal["day", "week", "term", "year"]
_IBIS = {"DATE": "date", "BOOLEAN": "boolean", "BIGINT": "int64", "TINYINT": "int8", "TIMESTAMP": "timestamp"}
# The tables a compiled measure reads, whatever the engine: rows of the fact log, days or moments of the periods, and
# the group that each school belongs to.
NEAR = "near"  # what `within` speaks of
FACTS, BESIDE, PERIODS, MEMBERS = "facts", "beside", "periods", "members"
UNITS = "units"  # what the second stage reads


_BY = " by "
_START, _END = "start_date", "end_date"  # as every entity has them whose facts last


class Suppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which figures are hidden: groups of few units, and small numerators. 0 is never hidden."""

    units_below: int = 0
    numerator_below: int = 0
    unreliable_below: int = 0  # of fewer units the value is not shown (u), its parts are


class Within(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the facts only those of the days before something of the same unit began, or after it ended."""

    entity: str
    side: Literal["before", "after"]
    days: int


class BoundedBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts the units whose own numerator in `measure` is a `part`-th of their own denominator there, or more."""

    measure: str
    part: int


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measure, as declared."""

    name: str
    title: str
    meaning: str  # for everybody
    source: str  # whose definition it is
    entity: str
    # A flow (facts dated in the period) or a state (facts valid on one day).
    taken: Literal["over the period", "on the last school day"]
    unit: tuple[str, ...]  # stage 1: one row per these items and period
    each: dict[str, str]  # what is known of a unit, whole numbers
    numerator: str  # stage 2: over the units of a group
    shown_as: Literal["count", "percent", "ratio"]
    levels: tuple[Level, ...]
    grains: tuple[Grain, ...]
    suppression: Suppression
    population: str | None = None  # which units take part
    denominator: str | None = None
    decimals: int = 0
    # The numerator is counted in parts of one: in halves (2), hundredths (100). A ratio is of so many (`times`).
    scale: int = 1
    times: int = 1
    within: Within | None = None
    place: str = "school"  # the item that names the school, where it is called otherwise
    # Another entity whose state on the same day is laid beside each unit, by the unit's items, and what is taken of it.
    beside: str | None = None
    each_beside: dict[str, str] = {}
    # What else its figures are bound to by sums, so that they are hidden together (see `publication`).
    sum_of: tuple[str, ...] = ()  # the measures that add up to it, over the same denominator
    base: str | None = None  # the measure whose figure is its denominator
    adds_up_over_time: bool = False  # a week's figure is the sum of its days'
    # The measure whose shown figures say between what bounds this one lies (see `bounds`).
    bounded_by: BoundedBy | None = None
    # Never declared: the characteristic by which a measure is divided (see `divided`).
    by: str | None = None
    # Of an organisation's own measure alone: the published one that is shown beside it.
    benchmark: str | None = None


@cache
def load(folder: Path = FOLDER) -> dict[str, Measure]:
    """Every measure of a folder by name, compiled once to prove it. Raises Problem CR-001 or CR-062."""
    found: dict[str, Measure] = {}
    for path in sorted(folder.glob("*.yaml")):
        measure = declarations.load(path, Measure)
        _check(measure, path)
        expression(measure)
        found[measure.name] = measure
    _check_bonds(found, folder)
    return found


def family(measure: Measure) -> list[Measure]:
    """The measures that are hidden together with it: the sum first, then what it is the sum of."""
    whole = next((other for other in load().values() if measure.name in other.sum_of), measure)
    return [whole, *(named(name) for name in whole.sum_of)]


def divided(measure: Measure, by: str) -> Measure:
    """The measure by a characteristic: its rows have the group as `category`. Raises Problem CR-063 (404)."""
    if _is_of_facts(measure, by):
        possible = measure.adds_up_over_time and set(characteristics.UNIT) <= set(measure.unit)
    else:
        whose = characteristics.named(by).entity  # of marks no other entity's state is one
        possible = set(characteristics.UNIT) <= set(measure.unit) and not _is_of_facts_of(by, whose)
        possible = possible and not _is_published_the_other_way_round(measure, by)
    if not possible:
        raise Problem(
            "CR-063",
            f"{measure.name} is not counted by {by}",
            status=404,
            remedy="Ask for it without a characteristic.",
        )
    return msgspec.structs.replace(measure, name=f"{measure.name}{_BY}{by}", by=by)


def same_as(measure: Measure) -> tuple[Measure, str, str] | None:
    """The figure that a measure's numerator is too, where there is one: its base, by a characteristic, the group of it."""
    for by, one in characteristics.load().items():
        for group, name in one.same_as.items():
            if name == measure.name and measure.base is not None:
                return named(measure.base), by, group
    return None


def _is_published_the_other_way_round(measure: Measure, by: str) -> bool:
    """Whether its groups are figures of others: those with SEN support who are eligible, of those eligible with support.

    One figure published twice would be hidden in one place and shown in the other, so one of the two ways alone is open.
    """
    same = same_as(measure)
    if same is None:
        return False
    others = [named(name) for name in characteristics.named(by).same_as.values()]
    return by < same[1] and any(other.base == measure.base for other in others)


def bounded_by(measure: Measure) -> list[Measure]:
    """The measures of which its figures say between what bounds they lie."""
    return [one for one in load().values() if one.bounded_by and one.bounded_by.measure == measure.name]


def named(name: str) -> Measure:
    """The measure of that name, or Problem CR-063 (404). The name may be that of one divided by a characteristic."""
    whole, _, by = name.partition(_BY)
    if by:
        return divided(named(whole), by)
    measure = load().get(name)
    if measure is None:
        raise Problem(
            "CR-063",
            "there is no measure of that name",
            status=404,
            remedy=f"Use one of: {', '.join(sorted(load()))}.",
        )
    return measure


def expression(measure: Measure) -> Any:
    """The measure in Ibis, over FACTS, PERIODS and MEMBERS; divided, over PUPILS and MOMENTS too.

    Gives one row per period and unit of the level: period (its name), member, numerator, denominator, units; divided,
    one for each group with its name as `category`.
    """
    rows = _flow(measure) if measure.taken == "over the period" else _state(measure)
    return _groups(measure, _units(measure, rows))


def each_unit(measure: Measure) -> Any:
    """The first stage of a flow alone, over FACTS and PERIODS: what is known of each unit in each period."""
    return _known(measure, _flow(measure))


def of_units(measure: Measure) -> Any:
    """The second stage alone, over UNITS (what the first one gives) and MEMBERS."""
    kinds = {column.name: _IBIS.get(column.sql, "string") for column in tables.of(measure.entity).columns}
    columns = {"period": "string", **{name: kinds[name] for name in measure.unit}}
    units = ibis.table({**columns, **dict.fromkeys(measure.each, "int64")}, name=UNITS)
    return _groups(measure, _populated(measure, units))


@cache
def duckdb_sql(name: str) -> str:
    """The measure as DuckDB runs it."""
    return str(ibis.to_sql(expression(named(name)), dialect="duckdb"))


def columns_of(measure: Measure, entity: str) -> list[str]:
    """The columns that it reads of the fact table of its entity, or of the one beside."""
    table = tables.of(entity)
    each = {}
    if entity == measure.entity:
        each = measure.each
    elif entity == measure.beside:
        each = measure.each_beside
    used = {name for text in each.values() for name in Expression(text, measure.name).names()}
    used |= set(measure.unit)
    if measure.within is not None and measure.within.entity == entity:
        used |= {_START, _END}
    if measure.by is not None:
        used |= {one.item for one in [characteristics.named(measure.by)] if one.entity == entity}
    items = [name for name in table.items if name in {*used, *table.key}]
    return [*items, "valid_from", "valid_to", "weight"]


def entities_of(measure: Measure) -> dict[str, str]:
    """The entities it reads, by the name that its expression has for their facts."""
    found = {FACTS: measure.entity}
    if measure.beside is not None:
        found[BESIDE] = measure.beside
    if measure.within is not None:
        found[NEAR] = measure.within.entity
    if measure.by is not None and not _is_of_facts(measure, measure.by):
        found[PUPILS] = characteristics.named(measure.by).entity
    return found


def _facts(measure: Measure, name: str) -> Any:
    entity = entities_of(measure)[name]
    kinds = {column.name: _IBIS.get(column.sql, "string") for column in tables.of(entity).columns}
    return ibis.table({column: kinds[column] for column in columns_of(measure, entity)}, name=name)


def _flow(measure: Measure) -> Any:
    """Facts of the days of each period; each counts for its weight, so corrections cancel what they correct."""
    days = ibis.table({"day": "date", "period": "string"}, name=PERIODS)
    facts = _facts(measure, FACTS)
    if measure.within is not None:
        facts = _near(measure, facts, measure.within)
    return facts.join(days, facts.valid_from == days.day)


def _near(measure: Measure, facts: Any, within: Within) -> Any:
    """The facts of the days beside what `within` speaks of, each once however many of these there are."""
    others = _facts(measure, NEAR)
    same = [name for name in others.columns if name != "weight"]
    live = others.group_by(same).aggregate(weight=others.weight.cast("int64").sum())
    live = live.filter(live.weight > 0)
    span = ibis.interval(days=within.days)
    day = facts.valid_from
    if within.side == "before":
        beside = [day < live[_START], day >= live[_START] - span]
    else:
        beside = [day > live[_END], day <= live[_END] + span]
    return facts.semi_join(live, [facts[name] == live[name] for name in measure.unit] + beside)


def _state(measure: Measure, name: str = FACTS) -> Any:
    """Facts valid on the day `on` of each period: of a key's live rows the one that began last, if it still goes on."""
    moments = ibis.table({"on": "date", "period": "string"}, name=PERIODS)
    facts = _facts(measure, name)
    same = [name for name in facts.columns if name != "weight"]
    live = facts.group_by(same).aggregate(weight=facts.weight.cast("int64").sum())
    live = live.filter(live.weight > 0)
    begun = live.join(moments, live.valid_from <= moments.on)
    order = ibis.window(
        group_by=["period", *tables.of(entities_of(measure)[name]).key], order_by=ibis.desc("valid_from")
    )
    ranked = begun.mutate(rank=ibis.row_number().over(order))
    return ranked.filter((ranked.rank == 0) & (ranked.valid_to.isnull() | (ranked.valid_to >= ranked.on)))


def _units(measure: Measure, rows: Any) -> Any:
    units = _known(measure, rows)
    if measure.beside is not None:
        units = _with_beside(measure, units, measure.beside)
    return _populated(measure, units)


def _known(measure: Measure, rows: Any) -> Any:
    """What is known of each unit."""
    same = ["period", *measure.unit]
    if measure.by is not None and _is_of_facts(measure, measure.by):
        of = characteristics.named(measure.by)
        rows = rows.mutate(category=characteristics.group_of(of, rows[of.item]))
        same.append("category")
    weight = rows.weight.cast("int64") if measure.taken == "over the period" else None
    totals = {
        name: Expression(text, f"measure {measure.name}, each {name}").compile(
            rows, weight, _codesets(measure.entity)
        )
        for name, text in measure.each.items()
    }
    return rows.group_by(same).aggregate(**totals)


def _populated(measure: Measure, units: Any) -> Any:
    """The units that take part."""
    if measure.population is None:
        return units
    return units.filter(Expression(measure.population, f"measure {measure.name}, population").compile(units))


def _with_beside(measure: Measure, units: Any, beside: str) -> Any:
    """Units with what is known of them in another entity; 0 where it knows nothing."""
    rows = _state(measure, BESIDE)
    same = ["period", *measure.unit]
    totals = {
        name: Expression(text, f"measure {measure.name}, each_beside {name}").compile(
            rows, None, _codesets(beside)
        )
        for name, text in measure.each_beside.items()
    }
    others = rows.group_by(same).aggregate(**totals)
    joined = units.left_join(others, same, rname="other_{name}")
    known = {name: joined[name].fill_null(0) for name in measure.each_beside}
    return joined.select(*same, *measure.each, **known)


def _groups(measure: Measure, units: Any) -> Any:
    members = ibis.table({"school": "string", "member": "string"}, name=MEMBERS)
    same = ["period", "member"]
    if measure.by is not None:
        same.append("category")
        if not _is_of_facts(measure, measure.by):
            units = _with_group(measure, units, measure.by)
    grouped = units.join(members, units[measure.place] == members.school)
    numerator = Expression(measure.numerator, f"measure {measure.name}, numerator").compile(grouped)
    parts = {"numerator": numerator, "units": grouped.count()}
    if measure.denominator is not None:
        parts["denominator"] = Expression(
            measure.denominator, f"measure {measure.name}, denominator"
        ).compile(grouped)
    return grouped.group_by(same).aggregate(**parts)


def _is_of_facts(measure: Measure, by: str) -> bool:
    return _is_of_facts_of(by, measure.entity)


def _is_of_facts_of(by: str, entity: str) -> bool:
    return characteristics.is_of_facts(characteristics.named(by), entity)


def _with_group(measure: Measure, units: Any, by: str) -> Any:
    """Units with the group of each one's pupil."""
    moments = ibis.table({"on": "date", "period": "string"}, name=MOMENTS).rename(moment="on")
    pupils = characteristics.of_pupils(characteristics.named(by)).rename(moment="on")
    dated = units.join(moments, "period")
    joined = dated.left_join(pupils, ["moment", *characteristics.UNIT], rname="other_{name}")
    names = [name for name in units.columns if name != "category"]
    return joined.select(*names, category=joined.category.fill_null(characteristics.UNKNOWN))


def _codesets(entity: str) -> dict[str, Codeset]:
    language = standard.load()
    items = language.entities[entity].items
    return {item.name: language.codesets[item.codeset] for item in items if item.codeset is not None}


def check(measure: Measure, path: Path) -> None:
    """Prove one measure by itself. Raises Problem CR-062."""
    _check(msgspec.structs.replace(measure, benchmark=None), path)
    expression(measure)


def _check(measure: Measure, path: Path) -> None:
    entity = standard.load().entities.get(measure.entity)
    if measure.benchmark is not None:
        raise _fault(path, "a benchmark is for an organisation's own measure")
    if measure.by is not None or _BY in measure.name:
        raise _fault(path, "a measure is declared whole; characteristics divide it")
    if measure.name != path.stem:
        raise _fault(path, f"the file is called {path.stem}, the measure {measure.name}")
    if entity is None:
        raise _fault(path, f"the standard has no entity {measure.entity}")
    if measure.place not in measure.unit or not set(measure.unit) <= set(entity.by_name):
        raise _fault(path, "`unit` must be items of the entity, the one that names the school among them")
    if measure.beside is not None:
        other = standard.load().entities.get(measure.beside)
        if (
            other is None
            or not set(measure.unit) <= set(other.key)
            or measure.taken != "on the last school day"
        ):
            raise _fault(path, "`beside` is an entity whose key has the unit's items, for a state")
    if measure.within is not None:
        near = standard.load().entities.get(measure.within.entity)
        if (
            near is None
            or not {_START, _END, *measure.unit} <= set(near.by_name)
            or measure.adds_up_over_time
        ):
            raise _fault(
                path, "`within` is an entity with the unit's items, a start and an end; it adds up to nothing"
            )
        if measure.taken != "over the period" or measure.within.entity == measure.entity:
            raise _fault(path, "`within` is of facts of the period, and of another entity")
    if measure.shown_as != "count" and measure.denominator is None:
        raise _fault(path, "a percentage or ratio needs a denominator")


def _check_bonds(found: dict[str, Measure], folder: Path) -> None:
    """What a measure says of others holds only where they count the same things."""
    for measure in found.values():
        path = folder / f"{measure.name}.yaml"
        bounded = measure.bounded_by
        others = [*measure.sum_of, *([measure.base] if measure.base else [])]
        others += [bounded.measure] if bounded else []
        for name in others:
            if name not in found:
                raise _fault(path, f"there is no measure {name}")
        for part in (found[name] for name in measure.sum_of):
            if (part.entity, part.unit, part.population, part.denominator, part.adds_up_over_time) != (
                measure.entity, measure.unit, measure.population, measure.denominator, measure.adds_up_over_time,
            ):  # fmt: skip
                raise _fault(path, f"{part.name} is not counted over the same denominator")
        if bounded and (found[bounded.measure].entity, found[bounded.measure].taken, bounded.part > 0) != (
            measure.entity, measure.taken, True,
        ):  # fmt: skip
            raise _fault(path, f"{bounded.measure} is not counted of the same facts")
        if measure.adds_up_over_time and measure.taken != "over the period":
            raise _fault(path, "a state does not add up over time")
    if folder == FOLDER:
        _check_same(found)


def _check_same(found: dict[str, Measure]) -> None:
    """What a characteristic calls the figure of another measure is a count of the units of its base, on the same day."""
    named_twice = set()
    for by, one in characteristics.load().items():
        path = characteristics.FOLDER / f"{by}.yaml"
        for group, name in one.same_as.items():
            measure = found.get(name)
            base = found.get(measure.base or "") if measure is not None else None
            if measure is None or base is None or name in named_twice:
                raise _fault(path, f"`same_as` {group}: there is no measure {name} with a base, of one group")
            if (measure.entity, measure.unit, measure.taken, measure.denominator, measure.beside) != (
                base.entity, base.unit, base.taken, base.numerator, one.entity,
            ) or measure.taken == "over the period":  # fmt: skip
                raise _fault(path, f"`same_as` {group}: {name} does not count a group of {base.name}")
            named_twice.add(name)


def _fault(path: Path, detail: str) -> Problem:
    return Problem("CR-062", detail, where=str(path), remedy="docs/warehouse.md shows a measure.")
