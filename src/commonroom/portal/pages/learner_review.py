"""The clerk's pages: cases that wait, and one case with what was sent beside each candidate, weight by weight."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths, stem
from commonroom.portal.pages.learners import GENDERS, LEARNERS, caller_of, door_of
from commonroom.portal.pages.people import SEE_OTHER
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers.learners import store
from commonroom.registers.learners.matching import guard_in_words
from commonroom.registers.learners.matching.explain import FIELDS, LEVELS
from commonroom.registers.learners.matching.people import Details, Part
from commonroom.registers.learners.store import Caller, Candidate, Case

PURPOSE = "register_upkeep"
REVIEW = Link("Cases to decide", "/learners/review")
ITEMS = {
    "given_name": "Given name", "middle_names": "Middle names", "family_name": "Family name",
    "previous_family_name": "Previous family name", "preferred_given_name": "Preferred given name",
    "date_of_birth": "Date of birth", "gender": "Gender", "postcode": "Postcode", "house": "Address", "town": "Town",
    "upn": "UPN", "email": "E-mail", "place_of_birth": "Place of birth", "school_at_16": "School at 16",
}  # fmt: skip
KINDS = {
    "registration": "A registration that may be of a known learner",
    "pair": "Two numbers that may be of one learner",
    "challenge": "An item that somebody says is wrong",
}
COLUMNS = (
    Column("case", "Case"),
    Column("opened_at", "Opened", "time"),
    Column("guard", "Why a clerk is asked"),
    Column("candidates", "Candidates", "number"),
    Column("clerks", "Clerks needed", "number"),
)
LIGHT = 0.05


class Line(msgspec.Struct, frozen=True):
    """One item of the two records, beside each other."""

    title: str
    sent: str
    known: str
    same: bool


class Shown(msgspec.Struct, frozen=True):
    """A candidate as the clerk sees it: the records, the waterfall in words, and the guard."""

    candidate: Candidate
    lines: tuple[Line, ...]
    steps: tuple[tuple[str, str, str], ...]
    guard: str


@get(paths("/learners/review"))
async def cases(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """What waits for this clerk, the oldest first."""
    found = await store.review_list(conn, await _clerk(request, visit, conn))
    table = Table(
        name="cases",
        title="Cases to decide",
        columns=COLUMNS,
        rows=tuple(_row(case) for case in found),
        empty="No case waits for you.",
    )
    page = Page(
        template="tables.html",
        title="Cases to decide",
        summary="Where the register cannot be sure who somebody is, a clerk decides. Of twins, two clerks.",
        tables=(table,),
        trail=(HOME, LEARNERS),
        section="learners",
        private=True,
    )
    return house.answer(request, visit, page)


@get("/learners/review/{case:str}")
async def one(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    case: FromPath[str],
) -> Response[bytes]:
    """One case."""
    who = await _clerk(request, visit, conn)
    found = await store.review_case(conn, who, _number(case))
    return house.answer(request, visit, _page(found, {}))


@post("/learners/review/{case:str}", status_code=SEE_OTHER)
async def decide(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    case: FromPath[str],
) -> Response[Any]:
    """The verdict, and on to the next case."""
    fields = await house.check_form(request, visit)
    who = await _clerk(request, visit, conn)
    number = _number(case)
    verdict, person = fields.get("verdict", ""), fields.get("person", "")
    if verdict not in ("same", "different", "cannot_tell"):
        found = await store.review_case(conn, who, number)
        return house.answer(request, visit, _page(found, {"verdict": "Choose one of the three"}))
    numbers = await asyncio.to_thread(door_of(request).numbers)
    chosen = _number(person) if person and verdict == "same" else None
    await store.decide_case(conn, who, number, verdict, numbers, chosen)  # type: ignore[arg-type]
    return Redirect("/learners/review", status_code=SEE_OTHER)


async def _clerk(request: AnyRequest, visit: Visit, conn: Any) -> Caller:
    return await caller_of(request, visit, conn, PURPOSE)


def _number(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(stem(text))
    except ValueError as error:
        raise Problem("CR-213", "there is no such case", status=404) from error


def _row(case: Case) -> tuple[Cell, ...]:
    link = Link(KINDS[case.kind], f"/learners/review/{case.id}")
    return (link, case.opened_at, guard_in_words(case.guard), len(case.candidates), case.clerks)


def _page(case: Case, errors: dict[str, str]) -> Page:
    shown = tuple(_shown(case.sent, candidate) for candidate in case.candidates)
    return Page(
        template="learner_case.html",
        title="Is this the same person?",
        summary=guard_in_words(case.guard),
        facts=(
            Fact("kind", "Case", KINDS[case.kind]),
            Fact("opened_at", "Opened", case.opened_at),
            Fact("clerks", "Clerks who must agree", case.clerks),
            Fact("verdicts", "Verdicts of others so far", len(case.verdicts)),
            Fact("note", "Note", case.note or None),
        ),
        tables=tuple(_table(number, one) for number, one in enumerate(shown, start=1)),
        trail=(HOME, LEARNERS, REVIEW),
        section="learners",
        private=True,
        has_form=True,
        status=400 if errors else 200,
        more={"case": case, "shown": shown, "error_summary": errors},
    )


def _table(number: int, one: Shown) -> Table:
    """The weights of a candidate, for programs as for people."""
    return Table(
        name=f"weights-{number}",
        title=f"How the weight of {one.candidate.weight:+.1f} comes about",
        columns=(
            Column("field", "Item"),
            Column("level", "What was found"),
            Column("weight", "Weight, in bits"),
        ),
        rows=one.steps,
    )


def _shown(sent: Details, candidate: Candidate) -> Shown:
    lines = []
    for name, title in ITEMS.items():
        left, right = _text(sent, name), _text(candidate.details, name)
        if left or right:
            lines.append(Line(title, left, right, left.casefold() == right.casefold()))
    parts = sorted(candidate.parts, key=lambda part: -abs(part.weight))
    steps = tuple(_step(part) for part in parts if abs(part.weight) >= LIGHT)
    return Shown(candidate, tuple(lines), steps, guard_in_words(candidate.guard) if candidate.guard else "")


def _step(part: Part) -> tuple[str, str, str]:
    field = FIELDS.get(part.field, part.field.replace("_", " ").capitalize())
    return field, LEVELS.get(part.level, part.level.replace("_", " ")), f"{part.weight:+.1f}"


def _text(details: Details, name: str) -> str:
    value = getattr(details, name) or ""
    return GENDERS.get(value, value) if name == "gender" else str(value)


HANDLERS = [cases, one, decide]
