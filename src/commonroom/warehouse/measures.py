"""Measures as declarations: measures/*.yaml, each figure defined once, read and proved; see `model` for what one says."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import ibis
import msgspec

from commonroom import declarations, standard
from commonroom.problems import Problem, add_codes
from commonroom.standard.holders import AUTHORITIES
from commonroom.warehouse import characteristics, numbers_for_life
from commonroom.warehouse.compilation import END, START, expression, is_of_facts, prove_numerator
from commonroom.warehouse.expressions import Expression
from commonroom.warehouse.model import Best, Measure, Part, Reference, Tells
from commonroom.warehouse.tables import LEARNER_ITEM

add_codes({"CR-063": "There is no such figure"})

FOLDER = Path(__file__).parent / "measures"
PARTS = "parts"  # the folder of those that differ from another by what they count
REFERENCE = "reference"  # the area of the entities that the Department speaks of
_BY = " by "
Dialect = Literal["duckdb", "pyspark"]
MAX_DAYS_AFTER = 1_100  # three years


@cache
def load(folder: Path = FOLDER) -> dict[str, Measure]:
    """Every measure of a folder by name, compiled once to prove it. Raises Problem CR-001 or CR-062."""
    found: dict[str, Measure] = {}
    for path in sorted(folder.glob("*.yaml")):
        measure = declarations.load(path, Measure)
        if measure.part_of:
            raise _fault(path, f"a part of another is declared in the folder {PARTS}")
        _check(measure, path)
        expression(measure)
        found[measure.name] = measure
    for path in sorted((folder / PARTS).glob("*.yaml")):
        part = declarations.load(path, Part)
        found[part.name] = _with_rest(part, found, path)
    _check_bonds(found, folder)
    return found


def _with_rest(part: Part, found: dict[str, Measure], path: Path) -> Measure:
    """The whole measure that a part is, with what it has of the one that it is a part of."""
    whole = found.get(part.of)
    if whole is None:
        raise _fault(path, f"there is no measure {part.of}")
    said = {name: value for name, value in msgspec.structs.asdict(part).items() if name != "of"}
    measure = msgspec.structs.replace(whole, **said, part_of=whole.name)
    _check(measure, path)
    prove_numerator(measure)  # the rest is proved already
    return measure


def family(measure: Measure) -> list[Measure]:
    """The measures that are hidden together with it: the sum first, then what it is the sum of, and that of theirs."""
    whole = next((other for other in load().values() if measure.name in other.sum_of), None)
    return _with_parts(measure) if whole is None else family(whole)


def _with_parts(measure: Measure) -> list[Measure]:
    return [measure, *(one for name in measure.sum_of for one in _with_parts(named(name)))]


def divided(measure: Measure, by: str) -> Measure:
    """The measure by a characteristic: its rows have the group as `category`. Raises Problem CR-063 (404)."""
    if is_of_facts(measure, by):
        adds_up = measure.adds_up_over_time and set(characteristics.UNIT) <= set(measure.unit)
        possible = adds_up or measure.entity in characteristics.named(by).facts
    else:
        whose = characteristics.named(by).entity  # of marks no other entity's state is one
        possible = set(characteristics.UNIT) <= set(measure.unit) and not characteristics.is_of_facts(
            characteristics.named(by), whose
        )
        possible = possible and not _is_published_the_other_way_round(measure, by)
        # Girls on the roll, subtracted from all girls, would be the girls of the nursery, which nothing binds.
        possible = possible and (measure.tells is None or measure.tells.by == by)
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


def groups_told(measure: Measure) -> tuple[Measure, str, tuple[str, ...]] | None:
    """The groups of its base that a measure's figure is, or that whoever subtracts it from the base finds."""
    same = same_as(measure)
    if same is not None:
        return same[0], same[1], (same[2],)
    if measure.tells is not None and measure.base is not None:
        return named(measure.base), measure.tells.by, measure.tells.groups
    return None


def telling(base: Measure, by: str) -> dict[str, Measure]:
    """By group of a base, the measures that are that group's figure or tell it: hidden together."""
    found = {group: named(name) for group, name in characteristics.named(by).same_as.items()}
    found |= {
        one.tells.groups[0]: one for one in load().values() if one.tells is not None and one.tells.by == by
    }
    return {group: one for group, one in found.items() if one.base == base.name}


def bound_groups(base: Measure, by: str) -> set[str]:
    """The groups of a base that cannot be hidden without hiding another measure."""
    others = telling(base, by)
    return {
        *others,
        *(group for one in others.values() if one.tells is not None for group in one.tells.groups),
    }


def _is_published_the_other_way_round(measure: Measure, by: str) -> bool:
    """Whether its groups are figures of others: those with SEN support who are eligible, of those eligible with support.

    One figure published twice would be hidden in one place and shown in the other, so one of the two ways alone is open.
    """
    same = same_as(measure)
    if same is None:
        return False
    others = [named(name) for name in characteristics.named(by).same_as.values()]
    return by < same[1] and any(other.base == measure.base for other in others)


def is_of_authorities(measure: Measure) -> bool:
    """Whether its facts are an authority's and of no school."""
    entity = standard.load().entities[measure.entity]
    return entity.by_name[measure.place].codeset == AUTHORITIES


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


def compile_ahead() -> None:
    """Compile all, some seconds of work: for a process that will be asked for any, before the first question."""
    for name in load():
        duckdb_sql(name)


def duckdb_sql(name: str) -> str:
    """The measure as DuckDB runs it."""
    return sql(name, "duckdb")


@cache
def sql(name: str, dialect: Dialect) -> str:
    """The measure as an engine runs it; a part of another as a column of what gives the parts of that all at once.

    One with parts gives the numerators of these too, by their names.
    """
    measure = named(name)
    undivided = name.partition(_BY)[0]
    whole = measure.part_of or undivided
    alike = [one.name for one in load().values() if whole in (one.name, one.part_of)]
    if len(alike) == 1:
        return str(ibis.to_sql(expression(measure), dialect=dialect))
    together = _together(whole if measure.by is None else f"{whole}{_BY}{measure.by}", tuple(alike), dialect)
    columns = ["period", "member", *(["category"] if measure.by else []), "denominator", "units"]
    columns += [] if measure.part_of else alike
    return f"SELECT {', '.join(columns)}, {undivided} AS numerator FROM ({together}) AS together"  # noqa: S608 - names of ours


@cache
def _together(whole: str, parts: tuple[str, ...], dialect: Dialect) -> str:
    numerators = {name: load()[name].numerator for name in parts}
    return str(ibis.to_sql(expression(named(whole), numerators), dialect=dialect))


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
        if other is None or not set(measure.unit) <= set(other.key) or measure.taken == "over the period":
            raise _fault(path, "`beside` is an entity whose key has the unit's items, for a state")
    if measure.within is not None:
        near = standard.load().entities.get(measure.within.entity)
        if near is None or not {START, END, *measure.unit} <= set(near.by_name) or measure.adds_up_over_time:
            raise _fault(
                path, "`within` is an entity with the unit's items, a start and an end; it adds up to nothing"
            )
        if measure.taken != "over the period" or measure.within.entity == measure.entity:
            raise _fault(path, "`within` is of facts of the period, and of another entity")
    if measure.best is not None:
        _check_best(measure, measure.best, path)
    if measure.elsewhere:
        _check_elsewhere(measure, path)
    if measure.reference is not None:
        _check_reference(measure, measure.reference, path)
    if measure.lowest is not None:
        _check_lowest(measure, measure.lowest, path)
    if measure.has_ended and measure.taken == "over the period":
        raise _fault(path, "`has_ended` is of a state")
    if measure.taken == "on 31 March" and measure.grains != ("year",):
        raise _fault(path, "what is taken on 31 March has years alone")
    if is_of_authorities(measure) and {"school", "trust"} & set(measure.levels):
        raise _fault(path, "what is of no school has no figure of a school or a trust")
    if measure.shown_as != "count" and measure.denominator is None:
        raise _fault(path, "a percentage or ratio needs a denominator")


def _check_best(measure: Measure, best: Best, path: Path) -> None:
    entities = standard.load().entities
    facts = entities.get(measure.beside or "")
    others = [entities.get(name) for name in best.looks_up]
    if facts is None or not best.slots or any(slot.places < 1 for slot in best.slots.values()):
        raise _fault(path, "`best` is of the facts beside, and has slots with places")
    known = set(facts.by_name)
    for other in others:
        if other is None or not set(other.key) <= set(facts.by_name):
            raise _fault(path, "`looks_up` names entities whose key is items of the facts beside")
        said = set(other.by_name) - set(other.key)
        if said & known:
            raise _fault(path, f"two entities have {', '.join(sorted(said & known))}")
        known |= said


def _check_elsewhere(measure: Measure, path: Path) -> None:
    entities = standard.load().entities
    if LEARNER_ITEM not in measure.unit or measure.taken == "over the period":
        raise _fault(path, "`elsewhere` is for a state, of units with the pupil's UPN among their items")
    names = [*measure.each, *measure.each_beside]
    for name, one in measure.elsewhere.items():
        other = entities.get(one.entity or name)
        leads = other is not None and numbers_for_life.needed(other.name) is not None
        if not leads or not name.isidentifier() or not one.each:
            raise _fault(path, f"`elsewhere` {name}: it is of an entity with a UPN, or that leads to a ULN")
        # A key is read whole or not at all, so that what holds of it is the same.
        needs = Expression(one.only, f"elsewhere {name}").names() if one.only is not None else set()
        if other is not None and not needs <= set(other.key):
            raise _fault(path, f"`elsewhere` {name}: `only` is of items of the key")
        if not 0 <= one.days_after <= MAX_DAYS_AFTER:
            raise _fault(path, f"`elsewhere` {name}: `days_after` is 0 to {MAX_DAYS_AFTER}")
        names += one.each
    if len(set(names)) < len(names):
        raise _fault(path, "two things that are known of a unit have one name")


def _check_reference(measure: Measure, reference: Reference, path: Path) -> None:
    entity = standard.load().entities.get(reference.entity)
    if entity is None or entity.area != REFERENCE or measure.taken == "over the period":
        raise _fault(path, "`reference` is of an entity that the Department speaks of, for a state")
    known = {*measure.unit, *measure.each, *measure.each_beside}
    known |= {name for one in measure.elsewhere.values() for name in one.each}
    twice = known & {*entity.by_name, *reference.each} or set(entity.by_name) & set(reference.each)
    if twice or not reference.each:
        raise _fault(path, f"`reference`: two things have the name {', '.join(sorted(twice)) or 'of none'}")


def _check_lowest(measure: Measure, lowest: int, path: Path) -> None:
    """What is hidden is decided above the lowest: for that each unit counts for one, and nothing hangs on its numerator."""
    if lowest >= 0 or measure.shown_as != "ratio" or measure.denominator != f"count({measure.population})":
        raise _fault(path, "`lowest` is below 0, of a ratio whose denominator counts the population")
    bonds = measure.sum_of or measure.base or measure.bounded_by or measure.tells or measure.adds_up_over_time
    if bonds or measure.suppression.numerator_below:
        raise _fault(path, "a measure with a `lowest` is bound to no other, and hides by its units alone")


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
            if part.lowest is not None:
                raise _fault(path, f"{part.name} can be below 0")
            # Of counts each counts units of its own; the denominator is of the same units.
            populations = {measure.population, part.population} if measure.denominator is not None else {None}
            if len(populations) > 1 or (part.entity, part.unit, part.denominator, part.adds_up_over_time) != (
                measure.entity, measure.unit, measure.denominator, measure.adds_up_over_time,
            ):  # fmt: skip
                raise _fault(path, f"{part.name} is not counted over the same denominator")
        cohort = found.get(measure.cohort or measure.name)
        if cohort is None or (cohort.entity, cohort.unit, cohort.taken) != (
            measure.entity, measure.unit, measure.taken,
        ) or (cohort.denominator is None and measure.cohort):  # fmt: skip
            raise _fault(path, f"{measure.cohort} is no measure over the same units, with a denominator")
        if bounded and (found[bounded.measure].entity, found[bounded.measure].taken, bounded.part > 0) != (
            measure.entity, measure.taken, True,
        ):  # fmt: skip
            raise _fault(path, f"{bounded.measure} is not counted of the same facts")
        if measure.tells is not None:
            _check_tells(measure, measure.tells, path)
        if measure.adds_up_over_time and measure.taken != "over the period":
            raise _fault(path, "a state does not add up over time")
    if folder == FOLDER:
        _check_same(found)


def _check_tells(measure: Measure, tells: Tells, path: Path) -> None:
    one = characteristics.load().get(tells.by)
    if one is None or measure.base is None or not tells.groups or not set(tells.groups) <= set(one.titles()):
        raise _fault(path, "`tells` is of groups of its base by a characteristic")


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
