"""The schools of a simulation: the invented county, and real schools of a real authority."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.simulation import (
    GROUP_LINKS,
    REGISTER,
    World,
    county,
    schools_of_county,
    schools_of_register,
)
from commonroom.simulation.schools import RegisterRow, largest_remainder, read_register, years_of

REAL_REGISTER = "data/gias/gias_open_mainstream_20220706.csv.gz"


def test_the_county_has_two_authorities_every_phase_and_6000_pupils() -> None:
    schools = schools_of_county()
    assert {school.la_code for school in schools} == {"997", "998"}
    assert len(schools) >= 26
    assert sum(school.pupils for school in schools) == 6000
    phases = {(row.phase, row.type) for row in read_register(REGISTER)}
    assert {phase for phase, _ in phases} >= {"Nursery", "Primary", "Secondary", "All-through", "16 plus"}
    assert {"Community special school", "Pupil referral unit"} <= {type_ for _, type_ in phases}
    assert {school.system for school in schools} == set(county().systems)


@pytest.mark.parametrize(
    ("name", "years"),
    [
        ("Harbour Lights Nursery School", ("N1", "N2")),
        ("Fernside Infant School", ("R", "1", "2")),
        ("Fernside Junior School", ("3", "4", "5", "6")),
        ("The Kilnfield School", ("7", "8", "9", "10", "11")),
        ("Westmarch High School", ("7", "8", "9", "10", "11", "12", "13")),
        ("Saltmere Sixth Form College", ("12", "13", "14")),
    ],
)
def test_a_school_teaches_the_years_of_its_ages(name: str, years: tuple[str, ...]) -> None:
    assert next(school for school in schools_of_county() if school.name == name).years == years


def test_the_schools_of_the_trusts_are_academies() -> None:
    types = {row.urn: row.type for row in read_register(REGISTER)}
    with GROUP_LINKS.open(encoding="cp1252", newline="") as file:
        members = [(row["Group UID"], row["URN"]) for row in csv.DictReader(file)]
    assert len({uid for uid, _ in members}) == 2
    assert all("cademy" in types[urn] for _, urn in members)


def test_the_county_register_has_the_columns_of_a_real_extract(shared: Path) -> None:
    with gzip.open(shared / REAL_REGISTER, "rt", encoding="cp1252", newline="") as real:
        columns = next(csv.reader(real))
    with REGISTER.open(encoding="cp1252", newline="") as ours:
        rows = list(csv.reader(ours))
    assert rows[0] == columns
    assert {len(row) for row in rows} == {44}


async def test_the_provider_register_loads_the_county_without_complaint(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        report = await providers.load_file(conn, REGISTER)
        assert (report.schools, report.pupils, len(report.issues)) == (len(schools_of_county()), 6000, 0)
        trusts = await providers.load_file(conn, GROUP_LINKS)
        westmarch = await providers.authority(conn, "997")
        academy = await providers.school(conn, "990008")
    assert len(trusts.issues) == 0
    assert academy is not None
    assert academy.trust is not None
    assert academy.trust.name == "Kestrel Learning Trust"
    assert westmarch is not None
    assert westmarch.name == "Westmarch"


async def test_real_schools_of_surrey_share_the_invented_pupils_as_the_register_counts_them(
    pool: asyncpg.Pool, shared: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "gias_936_20220706.csv"
    with gzip.open(shared / REAL_REGISTER, "rt", encoding="cp1252", newline="") as real:
        header, *rows = csv.reader(real)
    with cut.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[1] == "936")])
    async with pool.acquire() as conn:
        await providers.load_file(conn, cut)
        found = [RegisterRow(**row) for row in await providers.schools_of_authority(conn, "936")]
    schools = schools_of_register(found, "936", 6000)
    with pytest.raises(Problem, match="no open school in local authority 935"):
        schools_of_register(found, "935", 6000)
    assert len(schools) == 356
    assert sum(school.pupils for school in schools) == 6000
    published = {row[0]: int(row[17] or 0) for row in rows}
    whole = sum(published[school.urn] for school in schools)
    assert all(abs(school.pupils - published[school.urn] * 6000 / whole) < 1 for school in schools)


def test_closed_schools_get_no_pupils() -> None:
    rows = read_register(REGISTER)
    closed = msgspec.structs.replace(rows[0], status="Closed")
    schools = schools_of_register([closed, *rows[1:]], closed.la_code, 100)
    assert closed.urn not in {school.urn for school in schools}


def test_a_school_without_status_or_number_takes_part() -> None:
    rows = read_register(REGISTER)
    bare = msgspec.structs.replace(rows[0], status="", estab="")
    schools = schools_of_register([bare, *rows[1:]], bare.la_code, 200)
    assert {school.urn: school.estab for school in schools}[bare.urn] == bare.urn[-4:]
    assert World(1, schools).pupils == 200


@pytest.mark.parametrize(
    ("phase", "low", "high", "years"),
    [
        ("Primary", None, None, ("R", "1", "2", "3", "4", "5", "6")),
        ("Secondary", 11, None, ("7", "8", "9", "10", "11")),
        ("Primary", 2, 7, ("N1", "N2", "R", "1", "2")),
        ("Not applicable", 19, 25, ("14",)),
    ],
)
def test_missing_or_odd_ages_still_give_years(
    phase: str, low: int | None, high: int | None, years: tuple[str, ...]
) -> None:
    row: RegisterRow = msgspec.structs.replace(
        read_register(REGISTER)[1], phase=phase, low_age=low, high_age=high
    )
    assert years_of(row) == years


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(0, 20_000))
def test_shares_are_whole_add_up_and_are_never_a_pupil_off(weights: list[int], total: int) -> None:
    shares = largest_remainder(weights, total)
    assert sum(shares) == total
    whole = sum(weights) or len(weights)
    fair = [(weight if sum(weights) else 1) * total / whole for weight in weights]
    assert all(abs(share - due) < 1 for share, due in zip(shares, fair, strict=True))
