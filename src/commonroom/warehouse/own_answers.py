"""A measure of one's own with what stands beside it: the whole answer, for pages, programs and the command line."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from commonroom.identity import Principal
from commonroom.settings import Settings
from commonroom.warehouse import combinations, own, own_figures, similar
from commonroom.warehouse.model import Level, Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.own_figures import OwnFigures
from commonroom.warehouse.questions import Figure
from commonroom.warehouse.reader import Reader
from commonroom.warehouse.similar import Similar

GROUPS: tuple[Level, ...] = ("trust", "authority", "region")


class Benchmark(msgspec.Struct, frozen=True):
    """A published measure beside one's own: of the schools, those they belong to, and those like them."""

    measure: Measure
    published: tuple[Figure, ...]
    belongs: dict[str, dict[str, str]]  # by URN: the codes of its trust, authority and region
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
    schools = [known[urn] for urn in found.schools if urn in known]
    names = {school.urn: school.name for school in schools}
    if measure.benchmark is None:
        return Answer(measure, found, None, names)
    published = await reader.beside(
        connection, principal, measure.benchmark, found.schools, grain, last, first
    )
    like = await similar.beside(
        reader, connection, principal, measure.benchmark, found.schools, grain=grain, first=first, last=last
    )
    belongs = {school.urn: _belongs(school) for school in schools}
    beside = Benchmark(combinations.measure(measure.benchmark), tuple(published), belongs, like)
    return Answer(measure, found, beside, names)


def _belongs(school: School) -> dict[str, str]:
    groups = {level: school.group(level)[0] for level in GROUPS}
    return {level: code for level, code in groups.items() if code is not None}
