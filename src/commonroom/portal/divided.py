"""Figures by characteristic for a page: `?by=sex` divides the page's measure and its pupils on roll, by term.

What a pupil is, is taken once a term, so the tables are by term whatever the grain of the page.
"""

from __future__ import annotations

from typing import Any

import msgspec

from commonroom.portal import figures, words
from commonroom.portal.figures import ABSENCE, HEADCOUNT, ON_ROLL, Question
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import form_of
from commonroom.portal.tables import Cell, Column, SoFar, Table
from commonroom.problems import Problem
from commonroom.warehouse import Figure, characteristics, measures
from commonroom.warehouse.characteristics import Characteristic

GRAIN = "term"
NOT_YET = ("CR-335", "CR-339")  # the rest of a page is shown all the same
# More groups than these are for the table, not for a sentence.
GROUPS_SAID = 7


class Unit(msgspec.Struct, frozen=True):
    """What a column is about: its name there, its level, and its code (None: the only one of the level)."""

    name: str
    level: str
    code: str | None = None


class Division(msgspec.Struct, frozen=True):
    """What the page shows of it."""

    by: Characteristic
    is_ready: bool  # or still being worked out
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def choices() -> dict[str, str]:
    """The characteristics by name, with their titles."""
    return {name: one.title for name, one in characteristics.load().items()}


def choosing(asked: Question, shown: Division | None) -> dict[str, Any]:
    """What the template of a unit's page needs for its choices, and to show the one made."""
    return {
        "asked": asked,
        "measures": ABSENCE,
        "grains": figures.GRAINS,
        "characteristics": choices(),
        "division": shown,
    }


async def division(
    request: AnyRequest, house: House, conn: Any, visit: Visit, asked: Question, units: list[Unit]
) -> Division | None:
    """The tables of the characteristic that the address asks for, of the first unit beside the others; None without one."""
    name = figures.one_of(request.query_params.get("by", ""), choices(), "", "by")
    if not name:
        return None
    by = characteristics.named(name)
    tables, sentences = [], []
    for table, measure, title in (
        ("absence_by", asked.measure, ABSENCE[asked.measure][0]),
        ("headcount_by", HEADCOUNT, ON_ROLL),
    ):
        if not is_divided(measure, name):
            empty = f"{title} is not counted by {by.title.lower()}."
            tables.append(
                Table(table, f"{title} by {by.title.lower()}", (Column("group", by.title),), (), empty=empty)
            )
            continue
        try:
            found = [await _figures(house, conn, visit, asked, one, measure, name) for one in units]
        except Problem as problem:
            if problem.code not in NOT_YET or form_of(request.url.path) != "html":
                raise
            return Division(by, False, (), ())
        tables.append(_table(table, title, by, asked, units, found))
        sentences += _sentence(title, by, asked, found[0])
    return Division(by, True, tuple(sentences), tuple(tables))


def is_divided(measure: str, by: str) -> bool:
    """Whether a measure is counted by a characteristic."""
    try:
        measures.divided(measures.named(measure), by)
    except Problem as problem:
        if problem.code != "CR-063":
            raise
        return False
    return True


async def _figures(
    house: House, conn: Any, visit: Visit, asked: Question, unit: Unit, measure: str, by: str
) -> list[Figure]:
    found = await house.warehouse.figures(
        conn,
        visit.principal,
        measure=measure,
        level=unit.level,
        grain=GRAIN,
        units=None if unit.code is None else [unit.code],
        first=asked.first,
        last=asked.last,
        characteristic=by,
        now=asked.now,
    )
    return sorted(found, key=lambda figure: figure.period_start, reverse=True)


def _table(
    name: str, title: str, by: Characteristic, asked: Question, units: list[Unit], found: list[list[Figure]]
) -> Table:
    beside = [{(figure.period_start, figure.group): figure for figure in one} for one in found]
    titles, is_rate = by.titles(), name == "absence_by"
    rows: list[tuple[Cell, ...]] = []
    for own in found[0]:
        others = (figures.value(one.get((own.period_start, own.group))) for one in beside)
        parts = (figures.part(own.numerator, own), figures.part(own.denominator, own)) if is_rate else ()
        period = SoFar(own.period_label) if figures.is_so_far(asked, own) else own.period_label
        rows.append((titles[own.group], period, *parts, *others))
    columns = [Column("group", by.title), Column("period", "Term", "whole")]
    if is_rate:
        columns += [Column("numerator", "Missed", "number"), Column("denominator", "Possible", "number")]
    columns += [
        Column(figures.column_name(index), one.name, "percent" if is_rate else "number")
        for index, one in enumerate(units)
    ]
    return Table(
        name=name,
        title=f"{title} by {by.title.lower()}, by term",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"{by.meaning} It is taken on the last school day of the term that has come.",
        empty="No term of this time has begun.",
        always_stacks=True,
    )


def _sentence(title: str, by: Characteristic, asked: Question, own: list[Figure]) -> list[str]:
    """The newest term in words, where there are few groups: what is withheld is said to be."""
    newest = [
        figure for figure in own if figure.period_start == own[0].period_start and figures.is_known(figure)
    ]
    if not newest or len(by.groups) > GROUPS_SAID:
        return []
    term = own[0].period_label + (" so far" if figures.is_so_far(asked, own[0]) else "")
    if all(figure.value is None for figure in newest):
        return [f"{title} by {by.title.lower()}, {term}, is withheld for every group."]
    titles = by.titles()
    said = [f"{titles[figure.group]} {_said(figure)}" for figure in newest]
    return [f"{title} by {by.title.lower()}, {term}: {words.joined(said)}."]


def _said(figure: Figure) -> str:
    if figure.value is None:
        return "withheld"
    return words.number(figure.numerator or 0) if figure.denominator is None else words.percent(figure.value)
