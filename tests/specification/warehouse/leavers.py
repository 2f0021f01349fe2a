"""What tests of destinations share: a year's leavers, and what schools, colleges, providers and authorities send of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from commonroom.engines import clock
from commonroom.exchange import Letter
from commonroom.hub import directory
from commonroom.hub.directory import Alias, Party
from commonroom.identity import PUBLIC
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.settings import Settings
from commonroom.standard import identifiers
from commonroom.warehouse import open_reader
from commonroom.warehouse.suppression import sensitive_only
from tests.specification.warehouse.test_measures import shown
from tests.unit.warehouse.house import House, enrolment, upn

A, B = "990001", "990002"
COLLEGE, PROVIDER = "10099001", "10099002"
AUTHORITY = "997"
DAY = date(2026, 7, 1)  # of the year whose leavers they are
Records = list[dict[str, Any]]
SIXTH_FORM = "2026-09-03"

LEFT = [A, *(str(990003 + number) for number in range(27))]  # the schools left: one for each case
KINDS = ("leavers", "sustained", "education", "apprenticeships", "employment", "not_sustained", "not_known")


async def open_house(connection: Any, settings: Settings) -> House:
    """Schools, a college, a provider and an authority, in the April after."""
    await clock.set_to(connection, settings, datetime.fromisoformat("2027-04-10T12:00+00:00"))
    house = await House(connection, settings, [A, B, *LEFT[1:]]).open(AUTHORITY)
    await house.register()
    for ukprn in (COLLEGE, PROVIDER):
        house.parties[ukprn] = org_urn(uuid7())
    await directory.publish(
        connection,
        [Party(house.parties[ukprn], f"Provider {ukprn}", ("provider",)) for ukprn in (COLLEGE, PROVIDER)],
        [Alias(alias_urn("ukprn", ukprn), house.parties[ukprn]) for ukprn in (COLLEGE, PROVIDER)],
        [],
    )
    return house


def uln(pupil: int) -> str:
    """The number for life of an invented pupil; a few stems have none."""
    return next(
        number
        for stem in range(100_000_000 + 20 * pupil, 100_000_020 + 20 * pupil)
        for digit in range(10)
        if identifiers.is_valid("ULN", number := f"{stem}{digit}")
    )


def in_year_11(*pupils: int, school: str = A, **more: Any) -> Records:
    """On the roll of A until the end of year 11."""
    leaves = {"leaving_date": "2026-08-31", "nc_year": "11", **more}
    return [enrolment(school, pupil, "2021-09-01", **leaves) for pupil in pupils]


def numbered(*pupils: int, school: str = A, **more: Any) -> Records:
    """What the school knows of them, the number for life included."""
    return [
        {
            "school": school, "upn": upn(pupil), "given_name": "Robin", "family_name": "Ash",
            "date_of_birth": "2010-05-01", "sex": "F" if pupil % 2 else "M", "uln": uln(pupil),
            "valid_from": "2021-09-01", "version": 1, **more,
        }
        for pupil in pupils
    ]  # fmt: skip


def learner(pupil: int, provider: str = COLLEGE, **more: Any) -> dict[str, Any]:
    return {
        "provider": provider, "learner": f"L{pupil}", "uln": uln(pupil), "valid_from": "2026-09-01", "version": 1, **more
    }  # fmt: skip


def learns(pupil: int, first: str, last: str | None = None, provider: str = COLLEGE, **more: Any) -> Any:
    """One aim at a college: a full-time course for 16 to 19, unless said otherwise."""
    return {
        "provider": provider, "learner": f"L{pupil}", "aim_number": 1, "start_date": first, "fund_model": "25",
        "valid_from": first, "version": 1, **({"actual_end_date": last} if last else {}), **more,
    }  # fmt: skip


def apprenticed(pupil: int, first: str, last: str | None = None, **more: Any) -> Any:
    return learns(pupil, first, last, PROVIDER, **{"fund_model": "36", "programme_type": "25", **more})


def heard(pupil: int, what: str, first: str, told: str, last: str | None = None, **more: Any) -> Any:
    """What the college heard of a former learner: `EMP 1` is a job, `NPE 1` none."""
    kind, code = what.split()
    return {
        "provider": COLLEGE, "learner": f"L{pupil}", "outcome_type": kind, "outcome_code": code, "start_date": first,
        "collected_date": told, "uln": uln(pupil), "version": 1, **({"end_date": last} if last else {}), **more,
    }  # fmt: skip


async def asked(house: House, stage: str = "ks4", day: date = DAY, **more: Any) -> dict[str, dict[str, str]]:
    """What is shown of the leavers of each school, by kind; only what is small by itself is hidden."""
    reader = open_reader(house.settings, sensitive_only)
    found: dict[str, dict[str, str]] = {}
    try:
        for kind in KINDS:
            for figure in await reader.figures(
                house.connection, PUBLIC, measure=f"{stage}_{kind}", level="school", grain="year",
                first=day, last=day, **more,
            ):  # fmt: skip
                found.setdefault(figure.unit, {})[kind] = shown(figure).partition(" = ")[0]
    finally:
        reader.close()
    return found


def expected(cohort: int, **counts: int) -> dict[str, str]:
    """The same from counts; those that are not named are 0."""
    whole = counts.get("education", 0) + counts.get("apprenticeships", 0) + counts.get("employment", 0)
    counts["sustained"] = whole
    told = {kind: f"{counts.get(kind, 0)}/{cohort}" for kind in KINDS[1:]}
    assert whole + counts.get("not_sustained", 0) + counts.get("not_known", 0) == cohort
    # 1 and 2 are small counts.
    return {
        "leavers": f"{cohort}/{cohort}",
        **{kind: "c" if counts.get(kind, 0) in (1, 2) else text for kind, text in told.items()},
    }


def sent(house: House, sender: str, **entities: Sequence[dict[str, Any]]) -> list[Letter]:
    return [house.letter(sender, entity, records) for entity, records in entities.items()]


def at(letter: Letter, moment: str) -> Letter:
    return msgspec.structs.replace(letter, accepted_at=datetime.fromisoformat(moment))


async def load(house: House, *letters: Letter) -> None:
    outcome = await house.load(*letters)
    assert (outcome.findings, len(outcome.loaded)) == (0, len(letters))
