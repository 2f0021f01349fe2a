"""Measures made into Ibis, in two stages: first per unit (an enrolment, say) over the whole period, then per group of units.

Both stages are whole numbers, so that every engine gives the same answer to the last digit; what is shown is made of them
at the edge (see `disclosure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ibis

from commonroom import standard
from commonroom.standard import Codeset
from commonroom.warehouse import best, characteristics, numbers_for_life, tables
from commonroom.warehouse.characteristics import MOMENTS, PUPILS
from commonroom.warehouse.expressions import Expression
from commonroom.warehouse.model import Best, Elsewhere, Measure, Reference, Within

_IBIS = {"DATE": "date", "BOOLEAN": "boolean", "BIGINT": "int64", "TINYINT": "int8", "TIMESTAMP": "timestamp"}
# The tables a compiled measure reads, whatever the engine: rows of the fact log, days or moments of the periods, and
# the group that each school belongs to.
NEAR = "near"  # what `within` speaks of
FACTS, BESIDE, PERIODS, MEMBERS = "facts", "beside", "periods", "members"
UNITS = "units"  # what the second stage reads
LEARNER = tables.LEARNER_ID  # by which what is known elsewhere is laid beside units
SAME = "same_learners"  # keys of learners that stand for another one now, as `same` and `person`
REFERENCE = "reference"
_ELSEWHERE = "elsewhere_"  # begins the names of those facts
START, END = "start_date", "end_date"  # as every entity has them whose facts last


def expression(measure: Measure, numerators: Mapping[str, str] | None = None) -> Any:
    """The measure in Ibis, over FACTS, PERIODS and MEMBERS; divided, over PUPILS and MOMENTS too.

    Gives one row per period and unit of the level: period (its name), member, numerator, denominator, units; divided,
    one for each group with its name as `category`. `numerators`: these by name, in the place of its own.
    """
    is_flow = measure.taken == "over the period"
    rows = _flow(measure) if is_flow else _state(measure, has_ended=measure.has_ended)
    return _groups(measure, _units(measure, rows), numerators or {"numerator": measure.numerator})


def prove_numerator(measure: Measure) -> None:
    """Raise Problem CR-062 where the numerator is none over what is known of a unit."""
    names = [
        *measure.each,
        *measure.each_beside,
        *(name for one in measure.elsewhere.values() for name in one.each),
    ]
    units = ibis.table(dict.fromkeys(names, "int64"), name=UNITS)
    Expression(measure.numerator, f"measure {measure.name}, numerator").compile(units)


def each_unit(measure: Measure) -> Any:
    """The first stage of a flow alone, over FACTS and PERIODS: what is known of each unit in each period."""
    return _known(measure, _flow(measure))


def of_units(measure: Measure) -> Any:
    """The second stage alone, over UNITS (what the first one gives) and MEMBERS."""
    kinds = {column.name: _IBIS.get(column.sql, "string") for column in tables.of(measure.entity).columns}
    columns = {"period": "string", **{name: kinds[name] for name in measure.unit}}
    units = ibis.table({**columns, **dict.fromkeys(measure.each, "int64")}, name=UNITS)
    return _groups(measure, _populated(measure, units), {"numerator": measure.numerator})


def columns_of(measure: Measure, entity: str) -> list[str]:
    """The columns that it reads of the fact table of one of its entities, whatever it reads it as."""
    table = tables.of(entity)
    texts = _texts_of(measure.best) if measure.best else []
    if entity == measure.entity:
        texts += measure.each.values()
    elif entity == measure.beside:
        texts += measure.each_beside.values()
    for name, one in measure.elsewhere.items():
        if entity == (one.entity or name):
            texts += [*one.each.values(), *([one.only] if one.only is not None else [])]
    if measure.reference is not None and entity == measure.reference.entity:
        texts += [measure.reference.where, *measure.reference.each.values()]
    used = {name for text in texts for name in Expression(text, measure.name).names()}
    used |= set(measure.unit)
    if measure.best is not None and entity == measure.beside:
        used |= {name for other in measure.best.looks_up for name in tables.of(other).key}
    if measure.within is not None and measure.within.entity == entity:
        used |= {START, END}
    if measure.by is not None:
        of = characteristics.named(measure.by)
        used |= {characteristics.item_of(of, entity)} if entity in (of.entity, *of.facts) else set()
    if entity in elsewhere_of(measure).values():
        used |= numbers_for_life.columns_of(entity)
    items = [name for name in table.items if name in {*used, *table.key}]
    if entity in (measure.entity, *elsewhere_of(measure).values()) and measure.elsewhere:
        items += [LEARNER] if table.names_learner else []
    return [*items, "valid_from", "valid_to", "weight"]


def _texts_of(rules: Best) -> list[str]:
    slots = [slot.of for slot in rules.slots.values()]
    return [
        rules.counts,
        rules.worth,
        *slots,
        *(text for text in (rules.once, rules.twice) if text is not None),
    ]


def entities_of(measure: Measure) -> dict[str, str]:
    """The entities it reads, by the name that its expression has for their facts."""
    found = {FACTS: measure.entity}
    if measure.beside is not None:
        found[BESIDE] = measure.beside
    if measure.best is not None:
        found.update({entity: entity for entity in measure.best.looks_up})
    if measure.within is not None:
        found[NEAR] = measure.within.entity
    if measure.by is not None and not is_of_facts(measure, measure.by):
        found[PUPILS] = characteristics.named(measure.by).entity
    if measure.reference is not None:
        found[REFERENCE] = measure.reference.entity
    return found | elsewhere_of(measure)


def elsewhere_of(measure: Measure) -> dict[str, str]:
    """Of these the entities whose facts are taken of the same learners, whoever sent them, and those that lead to them."""
    found = {f"{_ELSEWHERE}{name}": one.entity or name for name, one in measure.elsewhere.items()}
    ways = [numbers_for_life.needed(entity) or {} for entity in found.values()]
    return found | {name: entity for way in ways for name, entity in way.items()}


def days_after(measure: Measure, name: str) -> int:
    """How many days after the measure's own state the facts of that name are taken."""
    one = _taken(measure, name)
    return one.days_after if one is not None else 0


def _taken(measure: Measure, name: str) -> Elsewhere | None:
    """What is taken from elsewhere of the facts of that name."""
    return measure.elsewhere.get(name.removeprefix(_ELSEWHERE)) if name.startswith(_ELSEWHERE) else None


def _only(measure: Measure, name: str) -> Expression | None:
    """Which of the facts of that name are read, where not all are."""
    one = _taken(measure, name)
    if one is None or one.only is None:
        return None
    return Expression(one.only, f"measure {measure.name}, {name}")


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
        beside = [day < live[START], day >= live[START] - span]
    else:
        beside = [day > live[END], day <= live[END] + span]
    return facts.semi_join(live, [facts[name] == live[name] for name in measure.unit] + beside)


def _state(measure: Measure, name: str = FACTS, *, has_ended: bool = False) -> Any:
    """Facts valid on the day `on` of each period: of a key's live rows the one that began last, if it still goes on.

    Of what is known elsewhere, `on` is as many days later as the measure says. `has_ended`: also if it has ended by then.
    """
    moments = ibis.table({"on": "date", "period": "string"}, name=PERIODS)
    if days_after(measure, name):
        later = moments.on + ibis.interval(days=days_after(measure, name))
        # Engines make a moment of it, which compares with a day, but not with every day that there can be.
        moments = moments.select("period", on=later.cast("timestamp").cast("date"))
    facts = _facts(measure, name)
    if (only := _only(measure, name)) is not None:
        facts = facts.filter(only.compile(facts, None, _codesets(entities_of(measure)[name])))
    live = _live(facts)
    begun = live.join(moments, live.valid_from <= moments.on)
    order = ibis.window(
        group_by=["period", *tables.of(entities_of(measure)[name]).key], order_by=ibis.desc("valid_from")
    )
    ranked = begun.mutate(rank=ibis.row_number().over(order))
    newest = ranked.filter(ranked.rank == 0)
    return newest if has_ended else newest.filter(newest.valid_to.isnull() | (newest.valid_to >= newest.on))


def _newest(measure: Measure, name: str) -> Any:
    """Of each key's live rows the one that began last, whatever the day."""
    live = _live(_facts(measure, name))
    key = tables.of(entities_of(measure)[name]).key
    ranked = live.mutate(
        rank=ibis.row_number().over(ibis.window(group_by=list(key), order_by=ibis.desc("valid_from")))
    )
    return ranked.filter(ranked.rank == 0)


def _live(facts: Any) -> Any:
    """The rows that are true, each once."""
    same = [name for name in facts.columns if name != "weight"]
    live = facts.group_by(same).aggregate(weight=facts.weight.cast("int64").sum())
    return live.filter(live.weight > 0)


def _units(measure: Measure, rows: Any) -> Any:
    units = _known(measure, rows)
    if measure.beside is not None:
        units = _with_beside(measure, units, measure.beside)
    for name, one in measure.elsewhere.items():
        units = _with_elsewhere(measure, units, name, one)
    if measure.reference is not None:
        units = _with_reference(measure, units, measure.reference)
    return _populated(measure, units)


def _known(measure: Measure, rows: Any) -> Any:
    """What is known of each unit."""
    same = ["period", *measure.unit]
    if measure.by is not None and is_of_facts(measure, measure.by):
        of = characteristics.named(measure.by)
        rows = rows.mutate(
            category=characteristics.group_of(of, rows[characteristics.item_of(of, measure.entity)])
        )
        same.append("category")
    weight = rows.weight.cast("int64") if measure.taken == "over the period" else None
    totals = {
        name: Expression(text, f"measure {measure.name}, each {name}").compile(
            rows, weight, _codesets(measure.entity)
        )
        for name, text in measure.each.items()
    }
    if measure.elsewhere:
        totals[LEARNER] = rows[LEARNER].max()  # of one pupil of one school it is one
        return _with_persons(rows.group_by(same).aggregate(**totals))
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
    if measure.best is not None:
        rows = _looked_up(measure, rows, measure.best.looks_up)
        rows = best.filled(rows, measure.best, same, tables.of(beside).key, f"measure {measure.name}")
    totals = {
        name: Expression(text, f"measure {measure.name}, each_beside {name}").compile(
            rows, None, _codesets(beside)
        )
        for name, text in measure.each_beside.items()
    }
    return _laid_beside(units, rows.group_by(same).aggregate(**totals), same)


def _with_elsewhere(measure: Measure, units: Any, name: str, one: Elsewhere) -> Any:
    """Units with what all facts of another entity say of their learners; 0 where they say nothing."""
    entity = one.entity or name
    rows = _state(measure, f"{_ELSEWHERE}{name}", has_ended=one.has_ended)
    rows = numbers_for_life.with_learner(rows, entity, lambda source: _newest(measure, source), _with_persons)
    totals = {
        total: Expression(text, f"measure {measure.name}, elsewhere {name}, {total}").compile(
            rows, None, _codesets(entity), has_max=True
        )
        for total, text in one.each.items()
    }
    same = ["period", LEARNER]
    return _laid_beside(units, rows.group_by(same).aggregate(**totals), same)


def _with_reference(measure: Measure, units: Any, reference: Reference) -> Any:
    """Units with what is said of all like them; 0 where nothing is."""
    where, codesets = f"measure {measure.name}, reference", _codesets(reference.entity)
    found = _state(measure, REFERENCE)
    items = [name for name in found.columns if name in (*tables.of(reference.entity).items, "on")]
    found = found.select(*items, period_of_it="period").mutate(is_said=ibis.literal(1, "int64"))
    both = _Both(units, found)
    speaks = Expression(reference.where, where).compile(both, None, codesets)
    # Grouped by all that is known of a unit, not joined to it again: the units are worked out once.
    rows = units.left_join(found, [units.period == found.period_of_it, speaks])
    said = rows.is_said.count() > 0
    totals = {
        name: ibis.ifelse(
            said, Expression(text, f"{where}, {name}").compile(rows, None, codesets).fill_null(0), 0
        )
        for name, text in reference.each.items()
    }
    return rows.group_by(list(units.columns)).aggregate(**totals)


class _Both:
    """The columns of two tables that are about to be joined, for the condition on which they are."""

    def __init__(self, one: Any, other: Any) -> None:
        self._tables = {name: table for table in (other, one) for name in table.columns}
        self.columns = list(self._tables)

    def __getitem__(self, name: str) -> Any:
        return self._tables[name][name]


def _with_persons(rows: Any) -> Any:
    """The same rows with the key of whom each learner is now."""
    pairs = ibis.table({"same": "string", "person": "string"}, name=SAME)
    joined = rows.left_join(pairs, [(LEARNER, "same")])
    known = joined.select(*rows.columns, "person")
    return known.mutate(**{LEARNER: ibis.coalesce(known.person, known[LEARNER])}).drop("person")


def _laid_beside(units: Any, others: Any, same: Sequence[str]) -> Any:
    """Units with the numbers of others that are the same; 0 where there is none."""
    joined = units.left_join(others, same, rname="other_{name}")
    known = [name for name in others.columns if name not in same]
    # In two steps: what is worked out within a join cannot be joined by again.
    laid = joined.select(*units.columns, *known)
    return laid.mutate(**{name: laid[name].fill_null(0) for name in known})


def _looked_up(measure: Measure, rows: Any, entities: tuple[str, ...]) -> Any:
    """Rows with what other entities say on the same day of what their keys name."""
    for entity in entities:
        table = tables.of(entity)
        same = ["period", *table.key]
        found = _state(measure, entity)
        found = found.select(
            *same, *(name for name in found.columns if name in set(table.items) - set(table.key))
        )
        rows = rows.inner_join(found, same)
    return rows


def _groups(measure: Measure, units: Any, numerators: Mapping[str, str]) -> Any:
    members = ibis.table({"school": "string", "member": "string"}, name=MEMBERS)
    same = ["period", "member"]
    if measure.by is not None:
        same.append("category")
        if not is_of_facts(measure, measure.by):
            units = _with_group(measure, units, measure.by)
    grouped = units.join(members, units[measure.place] == members.school)
    parts = {
        name: Expression(text, f"measure {measure.name}, {name}").compile(grouped)
        for name, text in numerators.items()
    }
    parts["units"] = grouped.count()
    if measure.denominator is not None:
        parts["denominator"] = Expression(
            measure.denominator, f"measure {measure.name}, denominator"
        ).compile(grouped)
    if measure.deviation is not None:
        parts["deviation"] = Expression(measure.deviation, f"measure {measure.name}, deviation").compile(
            grouped
        )
    return grouped.group_by(same).aggregate(**parts)


def is_of_facts(measure: Measure, by: str) -> bool:
    """Whether the characteristic tells the facts of the measure apart, and not their pupils."""
    return characteristics.is_of_facts(characteristics.named(by), measure.entity)


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
