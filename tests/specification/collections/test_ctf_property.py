"""Whatever a school knows of a leaver: written as a transfer file and read again, it is the same."""

from __future__ import annotations

import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from commonroom import standard
from commonroom.collections import loader, record_forms, transfer_file
from commonroom.collections.from_records import from_records
from commonroom.collections.record_forms import School
from commonroom.collections.to_records import to_records
from commonroom.collections.transfer_file import Outgoing
from commonroom.standard import identifiers

Record = dict[str, Any]

SENDER = School("100001", "8234321", "Example School")
FORMER = School("100003", "8232001", "Example Infants")
AT = datetime.fromisoformat("2026-01-12T09:30:00")
DAY = "2026-01-12"

# Names as people have them, letters that XML must escape among them; no space at the ends, which files do not keep.
WORDS = some.text(some.sampled_from("aéßŁ'& <>-Zx李"), min_size=1, max_size=12).map(str.strip).filter(bool)
DAYS = some.dates(date(2010, 1, 1), date(2026, 1, 9)).map(date.isoformat)
YES = some.booleans()


def code(name: str, on: date = date(2026, 1, 12)) -> some.SearchStrategy[str]:
    return some.sampled_from([one.code for one in standard.load().codesets[name].on(on)])


def maybe(**items: some.SearchStrategy[Any]) -> some.SearchStrategy[Record]:
    """Some of these items."""
    return some.fixed_dictionaries({}, optional=items)


@some.composite
def pupils(draw: some.DrawFn, serial: int) -> dict[str, list[Record]]:
    """The records of one pupil by entity, as the standard has them."""
    key = {"school": SENDER.urn, "upn": identifiers.make_upn(823, 4321, 2017, serial)}
    held = {"valid_from": DAY}
    made: dict[str, list[Record]] = {}

    def add(entity: str, *records: Record, dated: bool = False) -> None:
        made.setdefault(entity, []).extend({**key, **one, **({} if dated else held)} for one in records)

    entry, leaving = sorted(draw(some.lists(DAYS, min_size=2, max_size=2, unique=True)))
    languages = draw(
        some.lists(some.tuples(code("language_type"), code("language")), max_size=3, unique_by=lambda x: x[0])
    )
    first = dict(languages).get("F")
    address = draw(
        maybe(paon=WORDS, street=WORDS, town=WORDS, locality=WORDS, county=WORDS, postcode=some.just("ZZ1 1ZZ"),
              address_line1=WORDS, address_line2=WORDS, uprn=some.just("100000000001"), easting=some.just("1234.5"))
    )  # fmt: skip
    ethnicity = draw(some.none() | code("ethnicity"))
    add(
        "learner",
        {"given_name": draw(WORDS), "family_name": draw(WORDS), "date_of_birth": "2006-05-12", "sex": draw(code("sex")),
         **({"language": first} if first else {}), **({"ethnicity": ethnicity} if ethnicity else {}),
         **{name: address[name] for name in ("town", "postcode", "address_line1") if name in address}},
    )  # fmt: skip
    characteristics = draw(
        maybe(
            medical_flag=YES,
            in_care=YES,
            email=some.just("a@example.org"),
            ethnicity_source=code("information_source"),
        )
    )
    # The file has one element for both codes.
    detail = {"ethnicity_detail": ethnicity} if ethnicity else {}
    if characteristics or detail:
        add("pupil_characteristics", characteristics | detail)
    if address:
        add("address", {"address_number": 1, **address})
    add("learner_language", *({"language_type": kind, "language": one} for kind, one in languages))
    for kind, names in (
        ("P", ("family_name", "given_name")),
        ("F", ("family_name", "given_name")),
        ("L", ("middle_names",)),
    ):
        said = draw(maybe(**dict.fromkeys(names, WORDS)))
        if said:
            add("learner_name", {"name_type": kind, **said})
    for number in range(1, draw(some.integers(0, 3)) + 1):
        contact = maybe(priority=some.integers(1, 9), title=WORDS, family_name=WORDS, sex=code("sex"), email=WORDS,
                        relationship=code("contact_relationship"), responsibility=YES, address_as_pupil=YES, town=WORDS,
                        )  # fmt: skip
        # A contact of whom nothing is known leaves no trace in a file.
        add("contact", {"contact_number": number, "given_name": draw(WORDS), **draw(contact)})
        kinds = draw(some.lists(code("telephone_type"), max_size=2, unique=True))
        add(
            "telephone",
            *({"contact_number": number, "telephone_type": kind, "number": "01234"} for kind in kinds),
        )
    starts = sorted(draw(some.lists(DAYS, max_size=3, unique=True)))
    support = [
        {"start_date": day, "provision": draw(code("sen_provision", date.fromisoformat(day)))}
        for day in starts
    ]
    add("sen_provision_period", *support, dated=True)
    periods = draw(some.lists(DAYS, max_size=3, unique=True))
    add(
        "fsm_period",
        *(
            {"start_date": day, **draw(maybe(end_date=some.just(DAY), uk_country=code("uk_country")))}
            for day in periods
        ),
        dated=True,
    )
    kinds_of_need = draw(some.lists(code("sen_type"), max_size=3, unique=True))
    add("sen_need", *({"sen_type": kind, "rank": rank} for rank, kind in enumerate(kinds_of_need, start=1)))
    results = some.tuples(code("assessment_stage"), some.integers(2010, 2017), code("assessment_subject"))
    add(
        "assessment_result",
        *({"stage": stage, "year": year, "subject": subject, "method": "TE", "component": "X01", "result_qualifier": "NM",
           "result": "34", **draw(maybe(locale=code("uk_country"), result_date=DAYS, result_status=code("result_status")))}
          for stage, year, subject in draw(some.lists(results.filter(lambda r: r[2] != "PHO"), max_size=4, unique=True))),
    )  # fmt: skip
    if draw(YES):
        end = (date.fromisoformat(entry) - timedelta(days=1)).isoformat()
        add("previous_school", {"school_number": 1, "urn": FORMER.urn, "laestab": FORMER.laestab, "name": draw(WORDS),
                                "entry_date": "2009-09-01", "leaving_date": end, "last_school": False})  # fmt: skip
    add("enrolment", {"entry_date": entry, "leaving_date": leaving, "nc_year": draw(code("nc_year")),
                      "enrolment_status": draw(code("enrolment_status"))})  # fmt: skip
    for school in draw(some.sampled_from([(), (SENDER,), (SENDER, FORMER)])):
        attended, missed = draw(some.integers(0, 200)), draw(some.integers(0, 100))
        year = {"school": school.urn, "start_date": "2025-09-01", "end_date": "2026-08-31", "period": "YEAR"}
        sessions = {
            "sessions_possible": attended + missed,
            "sessions_attended": attended,
            "sessions_authorised": missed,
        }
        add("attendance_summary", year | sessions, dated=True)
    marked = draw(
        some.lists(
            some.tuples(some.integers(0, 60), some.sampled_from(["AM", "PM"])), max_size=12, unique=True
        )
    )
    days = [(date(2025, 9, 1) + timedelta(days=off), session) for off, session in marked]
    add(
        "attendance_mark",
        *({"date": day.isoformat(), "session": session, "code": draw(code("attendance", day))}
          for day, session in days if day.weekday() < 5),
        dated=True,
    )  # fmt: skip
    return {entity: records for entity, records in made.items() if records}


@some.composite
def record_sets(draw: some.DrawFn) -> dict[str, list[Record]]:
    whole: dict[str, list[Record]] = {}
    for serial in range(1, draw(some.integers(1, 3)) + 1):
        for entity, records in draw(pupils(serial)).items():
            whole.setdefault(entity, []).extend(records)
    return whole


def by_key(records: dict[str, list[Record]]) -> dict[str, dict[tuple[Any, ...], Record]]:
    entities = standard.load().entities
    return {
        entity: {tuple(one[name] for name in entities[entity].key): one for one in found}
        for entity, found in records.items()
    }


SCHOOLS = [SENDER, FORMER]
# A record set is large and a failing one seldom gets much smaller: no time is spent on trying.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=100, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@given(record_sets())
def test_records_become_rows_and_the_rows_the_same_records(records: dict[str, list[Record]]) -> None:
    for entity, found in records.items():
        assert standard.check_records(entity, found).findings == []
    collection = loader.load("ctf", 2025)
    facts = record_forms.given({"school": SENDER.urn, "laestab": SENDER.laestab, "valid_from": DAY}, SCHOOLS)
    written = from_records(collection, records, facts)
    assert dict(written.left_out) == {}
    told = to_records(collection, written.content, facts, ("Pupil",))
    assert dict(told.left_out) == {}
    assert by_key(told.records) == by_key(records)


@settings(max_examples=6, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@given(record_sets())
def test_what_is_written_as_a_file_is_read_again(records: dict[str, list[Record]]) -> None:
    wanted = Outgoing("8234321", "XXXXXXX", "001", AT, schools=SCHOOLS)
    with tempfile.TemporaryDirectory() as folder:
        done = transfer_file.write(records, wanted, Path(folder))
        assert [one for one in done.report.findings if one.severity == "error"] == []
        assert dict(done.left_out) == {}
        assert done.path is not None
        again = transfer_file.read(done.path, SCHOOLS)
    assert dict(again.left_out) == {}
    assert again.refused == []
    # The header says of the file itself what the standard calls a transfer; the sender is the last school of each.
    (read, transfers) = ({**again.records}, again.records.get("transfer", []))
    read.pop("transfer", None)
    assert len(transfers) == len(records["enrolment"])
    assert by_key(read) == by_key(records)
