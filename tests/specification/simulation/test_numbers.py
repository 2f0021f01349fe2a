"""Numbers for life in the schools' own systems: once sent they stand in the pupil's record; the proof sees each fault."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.engine import make_url

from commonroom import exchange, standard
from commonroom.agent.load import Store
from commonroom.agent.mapping import load_store
from commonroom.exchange import Envelope, Letter, RecordSet
from commonroom.ids import org_urn, uuid7
from commonroom.simulation import (
    World,
    build,
    county,
    numbers,
    school_database,
    schools_of_county,
    store_mapping,
)
from commonroom.simulation.numbers import OwnNumber, Register
from commonroom.simulation.own_tables import OwnRecords, read_school
from commonroom.simulation.schools import School
from commonroom.standard.identifiers import uln_check_digit
from tests.specification.simulation.records import records

REGISTER = org_urn(uuid7())
TODAY = date(2026, 9, 4)


def uln(stem: int) -> str:
    """The first valid number from this stem on."""
    while (digit := uln_check_digit(str(stem))) is None:
        stem += 1
    return f"{stem}{digit}"


ONE, TWO = uln(123456700), uln(234567800)


@pytest.fixture(params=county().systems)
def school(request: pytest.FixtureRequest, tmp_path: Path) -> School:
    """A school of each maker, built in the test's folder."""
    found = next(one for one in schools_of_county(270) if one.system == request.param)
    build(World(1, [found]), tmp_path)
    return found


def load(folder: Path, school: School, upn: str, number: str, version: int, day: str = "2026-09-03") -> None:
    """The school's agent loads a letter of the register."""
    mapping = store_mapping(school.system)
    store = Store(
        make_url(f"sqlite:///{school_database(folder, school.urn)}"),
        load_store(mapping, standard.load()),
        mapping.name,
        standard.load(),
    )
    told = {"school": school.urn, "upn": upn, "uln": number, "valid_from": day, "version": version}
    body = exchange.encode(RecordSet(standard=standard.load().version, records={"learner_number": [told]}))
    envelope = Envelope(
        id=str(uuid7()),
        source=REGISTER,
        type="commonroom.learner-number.changed",
        datacontenttype=exchange.RECORDS_TYPE,
        bodydigest=exchange.body_digest(body),
    )
    letter = Letter(
        envelope=envelope, body=body, delivery="d", position=1, accepted_at=datetime.now(UTC), attempt=1
    )
    (outcome,) = store.load([letter])
    assert (outcome.refused, outcome.records) == ("", 1)
    store.close()


def own(folder: Path, school: School) -> OwnRecords:
    """The school's own tables."""
    return read_school(school_database(folder, school.urn), school.system)


def test_a_number_stands_in_the_pupils_record_and_is_told_on(tmp_path: Path, school: School) -> None:
    before = records(tmp_path, school, "learner")
    pupil = before[0]["upn"]
    load(tmp_path, school, pupil, ONE, 1)
    found = numbers.own_numbers({school.urn: own(tmp_path, school)}, TODAY)
    assert {one.upn: one.uln for one in found if one.uln} == {pupil: ONE}
    after = records(tmp_path, school, "learner")
    told = max((one for one in after if one["upn"] == pupil), key=lambda one: one["valid_from"])
    assert told["uln"] == ONE
    checked = standard.check_records("learner", [{**one, "version": 1} for one in after])
    assert checked.findings == []
    assert [one for one in after if one["upn"] != pupil] == [one for one in before if one["upn"] != pupil]


def test_of_two_numbers_the_later_version_stays_in_any_order(tmp_path: Path, school: School) -> None:
    first, second = sorted({one["upn"] for one in records(tmp_path, school, "learner")})[:2]
    load(tmp_path, school, first, ONE, 1, "2026-09-03")
    load(tmp_path, school, first, TWO, 2, "2026-09-04")
    load(tmp_path, school, second, TWO, 2, "2026-09-04")
    load(tmp_path, school, second, ONE, 1, "2026-09-03")
    found = numbers.own_numbers({school.urn: own(tmp_path, school)}, TODAY)
    assert {one.upn: one.uln for one in found if one.uln} == {first: TWO, second: TWO}


def test_who_is_due_is_told_from_the_schools_own_dates_of_birth(tmp_path: Path, school: School) -> None:
    found = {one.upn: one.is_due for one in numbers.own_numbers({school.urn: own(tmp_path, school)}, TODAY)}
    born = {one["upn"]: one["date_of_birth"] for one in records(tmp_path, school, "learner")}
    assert found == {upn: day <= "2013-08-31" for upn, day in born.items()}


@pytest.mark.parametrize(
    ("own_uln", "given", "kind"),
    [
        ("", {}, None),
        (ONE, {"P": ONE}, None),
        ("", {"P": ONE}, "missing"),
        (ONE, {}, "extra"),
        (ONE, {"P": TWO}, "changed"),
    ],
)
def test_every_number_that_differs_is_a_difference(
    own_uln: str, given: dict[str, str], kind: str | None
) -> None:
    pupil = OwnNumber("990001", "P", own_uln, is_due=True)
    found = list(numbers.differences([pupil], Register(given, TODAY)))
    assert [one[2] for one in found] == ([kind] if kind else [])
    assert ONE not in msgspec.json.encode(found).decode()
