"""Learner numbers for the staff of schools, colleges and authorities: find one learner, or register one.

What is looked for stands in the body of a post and nowhere else, so a look-up answers in place and is never an address.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency

from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.learners_door import LearnersDoor
from commonroom.portal.page import Fact, Page, paths
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers.learners import answers, callers, store
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store import Caller, Found, Learner, Registered, Registration, permissions
from commonroom.registers.learners.store.items import BAD_FORM
from commonroom.registers.learners.store.watch import rules

LEARNERS = Link("Learner numbers", "/learners")
LONGEST = 300
GENDERS = {"1": "Male", "2": "Female", "9": "Not specified", "0": "Not known"}
SHARING = {"1": "Told about it, may be shared", "2": "Told about it, does not want it", "0": "Not told yet"}
VERIFIED = {
    "1": "The school knows the learner",
    "2": "Passport",
    "3": "Driving licence",
    "4": "Identity card",
    "5": "National Insurance card",
    "999": "Something else",
}
# What a look-up answers, for who looked.
WORDS = {
    answers.NONE: "No learner matches. Check the spelling, or register the learner.",
    answers.TOO_MANY: "Too many learners match. Give more, such as the postcode, the UPN or a previous family name.",
    answers.POSSIBLE: "Somebody like this is registered. Items that you did not send are hidden.",
    answers.EXACT: "This learner has a number.",
    answers.MASTER: "This learner has a number, which stands for more than one.",
    answers.REGISTERED: "The learner is registered and has a new number.",
    answers.INSUFFICIENT: "There is not enough to go by. Give a name, a date of birth and what is marked below.",
    answers.FIND_FIRST: "Too many learners are alike. Give more, such as the postcode or the UPN.",
}
WAITS = "Somebody like this is registered. A clerk of the register will decide; the number follows by itself."
COLUMNS = (
    Column("uln", "ULN", "code"),
    Column("given_name", "Given name"),
    Column("family_name", "Family name"),
    Column("date_of_birth", "Date of birth", "whole"),
    Column("postcode", "Postcode", "whole"),
)
FIELDS = (
    "given_name", "family_name", "day", "month", "year", "gender", "postcode", "middle_names",
    "previous_family_name", "upn", "email", "verification_type", "ability_to_share", "purpose", "kind",
)  # fmt: skip


@get(paths("/learners"))
async def form(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The empty form."""
    permissions.require(await caller_of(request, visit, conn, first_purpose()), "find")
    return house.answer(request, visit, _page({}, {}))


@post("/learners", status_code=200)
async def look(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Find or register, as the button says; the answer stands above the form, which keeps what was typed."""
    fields = await house.check_form(request, visit)
    typed = {name: fields.get(name, "").strip()[:LONGEST] for name in FIELDS}
    errors = _errors(typed)
    who = await caller_of(request, visit, conn, typed["purpose"] or first_purpose())
    if errors:
        return house.answer(request, visit, _page(typed, errors))
    door_of(request).rates.spend(who.party)
    if typed["kind"] == "register":
        numbers = await asyncio.to_thread(door_of(request).numbers)
        answer: Found | Registered = await store.register(conn, who, _registration(typed), numbers)
    else:
        answer = await store.find(conn, who, _details(typed))
    wrong = _wrong(answer)
    return house.answer(request, visit, _page(typed, wrong) if wrong else _answered(typed, answer))


async def caller_of(request: AnyRequest, visit: Visit, conn: Any, purpose: str) -> Caller:
    """The caller that a visitor is; 401 for the public, 403 for who has no part in the register."""
    if not visit.signed_in:
        raise Problem("CR-006", "This page is for people who have signed in.", status=401)
    return await callers.of_principal(conn, visit.principal, purpose)


def door_of(request: AnyRequest) -> LearnersDoor:
    """The door to the register."""
    door: LearnersDoor = request.app.state.learners
    return door


def first_purpose() -> str:
    """The purpose that most come with."""
    return next(iter(rules().purposes))


def choices(values: dict[str, str], chosen: str) -> list[dict[str, Any]]:
    """Values as the items of radios or a select."""
    return [{"value": value, "text": text, "checked": value == chosen} for value, text in values.items()]


def _errors(typed: dict[str, str]) -> dict[str, str]:
    errors = {}
    if not typed["given_name"] and not typed["family_name"]:
        errors["family_name"] = "Enter a name"
    if not typed["year"]:
        errors["birth-year"] = "Enter the year of birth at least"
    elif _birth(typed) is None:
        errors["birth-year"] = "Enter the date of birth in numbers, such as 14 3 2009"
    if not typed["purpose"]:
        errors["purpose"] = "Choose why you look"
    if typed["kind"] == "register":
        errors |= {
            name: words
            for name, words in (
                ("gender", "Choose a gender"),
                ("verification_type", "Choose how you know who it is"),
                ("ability_to_share", "Choose whether the record may be shared"),
            )
            if not typed[name]
        }
    return errors


def _wrong(answer: Found | Registered) -> dict[str, str]:
    """What the register could not use, by the field of the form."""
    words = {"date_of_birth": "date of birth", "upn": "UPN"}
    return {
        "birth-year" if one.item == "date_of_birth" else one.item: (
            "The date of birth is no day there is; enter it in numbers, such as 14 3 2009"
            if one.item == "date_of_birth" and one.code == BAD_FORM
            else f"The {words.get(one.item, one.item.replace('_', ' '))} {one.reason}"
        )
        for one in answer.wrong
    }


def _birth(typed: dict[str, str]) -> str | None:
    """'2009-03-14'; '2009-03' or '2009' where the rest is not known; None for anything else."""
    year, month, day = typed["year"], typed["month"], typed["day"]
    parts = [part for part in (year, month, day) if part]
    fits = all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts) and len(year) == 4
    if not fits or (day and not month) or int(month or 1) > 12 or int(day or 1) > 31:
        return None
    return "-".join([year, *(part.zfill(2) for part in (month, day) if part)])


def _details(typed: dict[str, str]) -> Details:
    given, family = typed["given_name"], typed["family_name"]
    return Details(
        given_name=given if family else "",
        family_name=family or given,
        date_of_birth=_birth(typed) or "",
        gender=typed["gender"] or "0",
        **{
            name: typed[name] or None
            for name in ("postcode", "middle_names", "previous_family_name", "upn", "email")
        },
    )


def _registration(typed: dict[str, str]) -> Registration:
    return Registration(
        details=_details(typed),
        verification_type=typed["verification_type"],
        ability_to_share=typed["ability_to_share"],
        source="portal",
    )


def _answered(typed: dict[str, str], answer: Found | Registered) -> Page:
    words = WORDS.get(answer.code, answers.answers()[answer.code].meaning)
    if isinstance(answer, Registered) and answer.case is not None:
        words = WAITS
    table = Table(
        name="learners", title="Learners", columns=COLUMNS, rows=tuple(_row(one) for one in answer.learners)
    )
    page = _page(typed, {})
    return msgspec.structs.replace(
        page,
        facts=(Fact("code", "Answer", answer.code), Fact("uln", "ULN", answer.uln)),
        tables=(table,) if answer.learners else (),
        more=page.more | {"said": words, "good": answers.answers()[answer.code].good, "uln": answer.uln},
    )


def _row(learner: Learner) -> tuple[str | None, ...]:
    return tuple(getattr(learner, column.name) or "hidden" for column in COLUMNS)


def _page(typed: dict[str, str], errors: dict[str, str]) -> Page:
    return Page(
        template="learners.html",
        title="Find or register a learner",
        summary="Find the Unique Learner Number (ULN) of a learner, or give one to a learner who has none.",
        trail=(HOME,),
        section="learners",
        private=True,
        has_form=True,
        status=400 if errors else 200,
        more={
            "typed": typed,
            "error_summary": errors,
            "genders": choices(GENDERS, typed.get("gender", "")),
            "verified": choices({"": "Choose", **VERIFIED}, typed.get("verification_type", "")),
            "sharing": choices(SHARING, typed.get("ability_to_share", "")),
            "purposes": choices({"": "Choose", **rules().purposes}, typed.get("purpose", "")),
        },
    )


HANDLERS = [form, look]
