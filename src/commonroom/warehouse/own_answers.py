"""A measure of one's own with what stands beside it: the whole answer, for pages, programs and the command line."""

from __future__ import annotations

from datetime import date
from typing import Any, get_args

import msgspec

from commonroom.identity import Principal
from commonroom.settings import Settings
from commonroom.warehouse import combinations, measures, organisations, own, own_figures, similar
from commonroom.warehouse.model import Level, Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.own_figures import OwnFigures
from commonroom.warehouse.questions import MAX_UNITS, Figure
from commonroom.warehouse.reader import Reader
from commonroom.warehouse.similar import Similar


class Benchmark(msgspec.Struct, frozen=True):
    """A published measure beside one's own: of the schools, those they belong to, and those like them."""

    measure: Measure
    published: tuple[Figure, ...]
    # The codes of the units beside whose figures they stand, by level, by unit: URN or an authority's number.
    belongs: dict[str, dict[str, str]]
    similar: Similar


class Answer(msgspec.Struct, frozen=True):
    """What a question for a measure of one's own comes to."""

    measure: Measure
    own: OwnFigures
    benchmark: Benchmark | None
    names: dict[str, str]  # of the schools that were counted, by URN


async def answer(
    settings: Settings, reader: Reader, connection: Any, principal: Principal, name: str, *,
    grain: str, first: date, last: date, purpose: str = "own measure",
) -> Answer:  # fmt: skip
    """The figures by school with the benchmark that the measure names. Raises as `own_figures.figures` does."""
    measure = (await own.named(connection, principal, name)).measure
    found = await own_figures.figures(
        settings, reader.duck, connection, principal, name,
        grain=grain, first=first, last=last, purpose=purpose, turnstile=reader.turnstile,
    )  # fmt: skip
    known = await reader.schools(connection, last)
    units = [known[urn] for urn in found.schools if urn in known]
    if measures.is_of_authorities(measure):
        authorities = organisations.authorities_of(known)
        units = [
            authorities[code]
            for code in dict.fromkeys(one.unit for one in found.figures)
            if code in authorities
        ]
    names = {one.urn: one.name for one in units}
    if measure.benchmark is None:
        return Answer(measure, found, None, names)
    belongs = {one.urn: _belongs(one) for one in units}
    published = await _published(
        reader, connection, principal, measure.benchmark, belongs, grain, first, last
    )
    like = await similar.beside(
        reader, connection, principal, measure.benchmark, found.schools, grain=grain, first=first, last=last
    )
    return Answer(
        measure, found, Benchmark(combinations.measure(measure.benchmark), published, belongs, like), names
    )


async def _published(
    reader: Reader, connection: Any, principal: Principal, measure: str, belongs: dict[str, dict[str, str]],
    grain: str, first: date, last: date,
) -> tuple[Figure, ...]:  # fmt: skip
    """The published figures of the units and of all that they belong to."""
    found: list[Figure] = []
    for level in combinations.measure(measure).levels:
        codes = sorted({groups[level] for groups in belongs.values() if level in groups})
        for start in range(0, len(codes), MAX_UNITS):
            found += await reader.figures(
                connection, principal, measure=measure, level=level, grain=grain,
                units=codes[start : start + MAX_UNITS], first=first, last=last, purpose="benchmark",
            )  # fmt: skip
    return tuple(found)


def _belongs(school: School) -> dict[str, str]:
    groups = {level: school.group(level)[0] for level in get_args(Level)}
    return {level: code for level, code in groups.items() if code is not None}
