"""The schools of a simulation: those of the invented county, or the real ones of one real local authority.

A school here is what the simulation needs of a register row: which years it teaches, where it stands, how many of
the invented pupils it gets and which maker's system it runs. Nothing about pupils enters this file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import msgspec

from commonroom import declarations
from commonroom.problems import Problem, add_codes

add_codes({"CR-120": "The simulation cannot be set up", "CR-121": "The simulated day cannot pass"})

COUNTY = Path(__file__).parent / "county"
REGISTER = COUNTY / "register.csv"
GROUP_LINKS = COUNTY / "group_links.csv"  # academy trusts and their schools

# National Curriculum years with the age a child has reached on 31 August before (FACTS section 2: N2 3, R 4, n 4 + n).
YEAR_OF_AGE: dict[int, str] = {2: "N1", 3: "N2", 4: "R", **{4 + year: str(year) for year in range(1, 15)}}
AGE_OF_YEAR: dict[str, int] = {year: age for age, year in YEAR_OF_AGE.items()}

# Ages taken when a register row gives none.
USUAL_AGES: dict[str, tuple[int, int]] = {
    "Nursery": (3, 5),
    "Primary": (4, 11),
    "Middle deemed primary": (9, 13),
    "Middle deemed secondary": (9, 13),
    "Secondary": (11, 16),
    "16 plus": (16, 19),
    "All-through": (4, 18),
}


class Authority(msgspec.Struct, frozen=True):
    """A local authority: its three-digit code and name."""

    code: str
    name: str


class County(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """county.yaml."""

    name: str
    first_day: str
    pupils: int
    systems: tuple[str, ...]


class School(msgspec.Struct, frozen=True, kw_only=True):
    """One school of the simulation."""

    urn: str
    la_code: str
    la_name: str
    estab: str  # four digits; with the LA code it makes the school's part of a UPN
    name: str
    kind: str  # mainstream | special | alternative | college: pupils move within a kind
    years: tuple[str, ...]  # National Curriculum years taught, youngest first
    town: str
    postcode: str
    pupils: int  # how many invented pupils are on roll on the first day
    system: str  # the maker whose system it runs: a folder under vendors/


class RegisterRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulation reads of a register: one open or closed school. `pupils` is None where nothing is published."""

    urn: str
    la_code: str
    la_name: str
    estab: str
    name: str
    phase: str
    type: str
    status: str
    low_age: int | None
    high_age: int | None
    pupils: int | None
    town: str
    postcode: str


@cache
def county() -> County:
    """The county's own facts."""
    return declarations.load(COUNTY / "county.yaml", County)


def schools_of_county(pupils: int | None = None) -> tuple[School, ...]:
    """The invented county's schools with `pupils` shared among them (6,000 unless told)."""
    rows = read_register(REGISTER)
    return share_pupils(rows, county().pupils if pupils is None else pupils)


def schools_of_register(rows: Iterable[RegisterRow], la_code: str, pupils: int) -> tuple[School, ...]:
    """The real open schools of one local authority, with invented pupils shared by the register's numbers."""
    found = [
        row for row in rows if row.la_code == la_code and (not row.status or row.status.startswith("Open"))
    ]
    if not found:
        raise Problem(
            "CR-120",
            f"the register has no open school in local authority {la_code}",
            remedy="Give the three-digit code of an authority that is in the register file.",
        )
    return share_pupils(found, pupils)


def share_pupils(rows: Iterable[RegisterRow], pupils: int) -> tuple[School, ...]:
    """Schools in order of URN; pupils in proportion to the register's own numbers, by largest remainder."""
    ordered = sorted(rows, key=lambda row: row.urn)
    shares = largest_remainder([row.pupils or 0 for row in ordered], pupils)
    systems = county().systems
    return tuple(
        School(
            urn=row.urn,
            la_code=row.la_code,
            la_name=row.la_name,
            # A school without a number of its own still needs four digits for the UPNs it gives.
            estab=row.estab or row.urn[-4:],
            name=row.name,
            kind=kind_of(row),
            years=years_of(row),
            town=row.town,
            postcode=row.postcode,
            pupils=share,
            system=systems[place % len(systems)],
        )
        for place, (row, share) in enumerate(zip(ordered, shares, strict=True))
    )


def largest_remainder(weights: list[int], total: int) -> list[int]:
    """Whole shares of `total` in proportion to `weights`; shares add up exactly. No weight at all: equal shares."""
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    shares = [weight * total // whole for weight in weights]
    # Ties go to the earlier place, so that the same register always gives the same shares.
    by_remainder = sorted(range(len(weights)), key=lambda place: (-(weights[place] * total % whole), place))
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares


def kind_of(row: RegisterRow) -> str:
    """Which kind of school pupils of this one may move to."""
    type_ = row.type.lower()
    if "alternative provision" in type_ or "referral" in type_:
        return "alternative"
    if "special" in type_:
        return "special"
    return "college" if row.phase == "16 plus" else "mainstream"


def years_of(row: RegisterRow) -> tuple[str, ...]:
    """The years taught: those whose age on 31 August is at least the low age and under the high age."""
    usual = USUAL_AGES.get(row.phase, (4, 18))
    low = usual[0] if row.low_age is None else row.low_age
    high = usual[1] if row.high_age is None else row.high_age
    # A nursery school's "high age 5" is the child who turns five in the year: reception is taught elsewhere.
    last = min(high, 4) if row.phase == "Nursery" else high
    years = tuple(year for age, year in YEAR_OF_AGE.items() if low <= age < last)
    return years or (YEAR_OF_AGE[min(max(low, 2), 18)],)


def authorities_of(schools: Iterable[School]) -> tuple[Authority, ...]:
    """The local authorities of these schools, by code."""
    return tuple(Authority(code, name) for code, name in sorted({(s.la_code, s.la_name) for s in schools}))


def read_register(path: Path) -> list[RegisterRow]:
    """The rows of our own register file (GIAS form, cp1252). Real files come through the provider register."""
    with path.open(encoding="cp1252", newline="") as file:
        return [_row(found) for found in csv.DictReader(file)]


def _row(found: Mapping[str, str]) -> RegisterRow:
    return RegisterRow(
        urn=found["URN"],
        la_code=found["LA (code)"],
        la_name=found["LA (name)"],
        estab=found["EstablishmentNumber"],
        name=found["EstablishmentName"],
        phase=found["PhaseOfEducation (name)"],
        type=found["TypeOfEstablishment (name)"],
        status=found["EstablishmentStatus (name)"],
        low_age=_number(found["StatutoryLowAge"]),
        high_age=_number(found["StatutoryHighAge"]),
        pupils=_number(found["NumberOfPupils"]),
        town=found["Town"],
        postcode=found["Postcode"],
    )


def _number(text: str) -> int | None:
    return int(text) if text.strip() else None
