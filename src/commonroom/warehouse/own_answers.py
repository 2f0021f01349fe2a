"""A measure of one's own with what stands beside it: the whole answer, for pages, programs and the command line."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from commonroom.identity import Principal
from commonroom.settings import Settings
from commonroom.warehouse import combinations, own, own_figures, similar
from commonroom.warehouse.model import Measure
from commonroom.warehouse.own_figures import OwnFigures
from commonroom.warehouse.questions import Figure
from commonroom.warehouse.reader import Reader
from commonroom.warehouse.similar import Similar


class Benchmark(msgspec.Struct, frozen=True):
    """A published measure beside one's own: of the schools, those they belong to, and those like them."""

    measure: Measure
    published: tuple[Figure, ...]
    similar: Similar


class Answer(msgspec.Struct, frozen=True):
    """What a question for a measure of one's own comes to."""

    measure: Measure
    own: OwnFigures
    benchmark: Benchmark | None


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
    if measure.benchmark is None:
        return Answer(measure, found, None)
    published = await reader.beside(
        connection, principal, measure.benchmark, found.schools, grain, last, first
    )
    like = await similar.beside(
        reader, connection, principal, measure.benchmark, found.schools, grain=grain, first=first, last=last
    )
    return Answer(measure, found, Benchmark(combinations.measure(measure.benchmark), tuple(published), like))
