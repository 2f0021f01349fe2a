"""Real and made-up files of the census of children in need: what is found in them, and why."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from commonroom import standard
from commonroom.collections.engine import Engine
from commonroom.collections.findings import Report
from commonroom.collections.loader import load
from commonroom.collections.mutators import Mutators
from commonroom.collections.session import Session
from commonroom.collections.xml_out import write_records
from commonroom.collections.xsd import against_schema
from commonroom.standard import identifiers

# The one invented child that most samples hold, with its dates in 1970 or in 2022. Found in all of them:
INVENTED = {
    "1510": 1,  # A123456789123: the letter should be another one
    "1530": 1,  # and 123 is no authority
    "2887Q": 1,  # two kinds of disability in the whole return
    "1104": 1,  # conference, enquiry and child protection plan before the referral
    "2889": 1,
    "1105": 1,
    "8715": 1,  # conference and ends of all plans outside the census year
    "8620": 1,
    "4013": 1,
    "8930": 1,
    "4016": 1,  # the child in need plan lies within the child protection plan
    "8565": 1,  # the child protection plan ends after the closure
}
# The word PersonBirthDate stands as text between two items.
STRAY = {"unknown-element": 1}
# In the older form the child, born in 1965, is also expected, in 1066; it dies in 1980; its assessment begins before the
# referral and ends in 1971. (In the sample of 2022 it is born and expected in 1966.)
IN_1970 = {"1103": 1, "8525Q": 1, "8530Q": 1, "8545Q": 1, "8696": 1}
# In the newer one the assessment of January 2023 has no end, in a case that is closed and a census that ends in March 2024
# (which is not 31 March 2023, as the year in the header asks).
IN_2022 = {"100": 1, "8670Q": 1, "8736": 1, "8867": 1}
# The sex is 1, a factor RB, the assessment runs from 2028 to 2020; the second child, with a number too long and with
# underscores, is assessed ten months before its referral, referred and closed after the census year, and has no factors.
# The year in the header is 2023.
IN_2024 = {"100": 1, "1103": 1, "1570": 1, "1580": 1, "4180": 1, "8600": 1, "8608": 1, "8620": 2, "8696": 1,
           "8897Q": 1, "code": 1, "header": 1}  # fmt: skip

FILES: dict[str, tuple[int, int, dict[str, int]]] = {
    "CIN_Census_2021.xml": (2023, 1, INVENTED | STRAY | IN_1970),
    "CIN_la_issues_2887Q.xml": (2023, 1, INVENTED | STRAY | IN_1970),
    # Its reference date is 28 March; the census year that ends there is judged.
    "CIN_header_issues_100.xml": (2023, 1, INVENTED | STRAY | IN_1970 | {"100": 1}),
    "CIN_Census_2021_copy.xml": (2023, 1, INVENTED | STRAY | IN_2022),
    "CIN_Census_2021_no_assessment_factors.xml": (2023, 1, INVENTED | STRAY | IN_2022),
    # The child protection plan stands twice: each copy has its faults, and each begins within the other.
    "CIN2rows.xml": (2023, 1, INVENTED | STRAY | IN_2022 | {"1105": 2, "8930": 2, "8940": 2}),
    "CIN_Census_2024.xml": (2025, 2, INVENTED | STRAY | IN_2024),
    "CIN_Census_2026.xml": (2026, 2, INVENTED | STRAY | IN_2024),
    "BAR_cin_2022.xml": (2023, 1, INVENTED | IN_1970 | {"header": 1}),
    # 332 random children of an authority 975, which is none; the header is of 2022, the reference date 21 July.
    "fake_CIN_data.xml": (2023, 332, {"code": 1, "header": 1, "100": 1, "1510": 320, "1530": 272, "2886Q": 1, "2990": 28,
                                      "8545Q": 20, "8555Q": 30, "8569Q": 320, "8585Q": 35, "8600": 8, "8620": 204,
                                      "8790": 3, "8794": 10, "8825Q": 30, "8831": 350}),
}  # fmt: skip


@cache
def engine_of(year: int) -> Engine:
    return Engine(load("cin", year))


@pytest.fixture(scope="module")
def samples(shared: Path) -> dict[str, Path]:
    folder = shared / "standards" / "files" / "cin"
    found = {path.name: path for path in (*folder.glob("fake_data/*.xml"), *folder.glob("xsd/samples/*.xml"))}
    if not found:
        pytest.skip("no shared data folder")
    return found


def report_of(path: Path, year: int) -> Report:
    with Session(engine_of(year)) as session:
        session.load(path)
        return session.check()


def test_every_sample_is_explained_here(samples: dict[str, Path]) -> None:
    assert set(samples) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_exactly_the_explained_faults_are_found(samples: dict[str, Path], name: str) -> None:
    year, records, expected = FILES[name]
    report = report_of(samples[name], year)
    assert report.records == records
    assert report.reasons == {}
    assert Counter(finding.rule for finding in report.findings) == Counter(expected)
    assert {rule for rule, outcome in report.outcomes.items() if outcome == "failed"} == set(expected)
    assert all(finding.locations and finding.message for finding in report.findings)


# The random file judged a second time, by plain Python over its elements.
START, END = date(2021, 7, 22), date(2022, 7, 21)


def day(element: Any, name: str) -> date | None:
    text = element.findtext(name)
    return date.fromisoformat(text) if text else None


def says(element: Any, name: str) -> bool:
    return bool(element.findtext(name) in ("true", "1"))


def outside(found: date | None) -> bool:
    return found is not None and not START <= found <= END


def wrong_letter(child: Any) -> bool:
    upn = child.findtext("ChildIdentifiers/UPN")
    return bool(upn) and identifiers.upn_check_letter(upn[1:]) != upn[0]


def no_authority(child: Any) -> bool:
    upn = child.findtext("ChildIdentifiers/UPN")
    known = {code.code for code in standard.load().codesets["upn_authority"].on(date(2023, 3, 31))}
    return bool(upn) and upn[1:4] not in known


def after_death(episode: Any) -> bool:
    death, referral = (
        day(episode.getparent(), "ChildIdentifiers/PersonDeathDate"),
        day(episode, "CINreferralDate"),
    )
    return death is not None and referral is not None and referral > death


def too_old_for_no_action(episode: Any) -> bool:
    # 22 July 2021 is a Thursday, so the working day before is the day before.
    referral = day(episode, "CINreferralDate")
    return referral is not None and referral < START - timedelta(days=1) and says(episode, "ReferralNFA")


def died_without_a_date(episode: Any) -> bool:
    died = episode.findtext("ReasonForClosure") == "RC2"
    return died and day(episode.getparent(), "ChildIdentifiers/PersonDeathDate") is None


def more_than_an_assessment(episode: Any) -> bool:
    beyond = ("DateOfInitialCPC", "Section47", "ChildProtectionPlans", "CINPlanDates")
    closed_after = episode.findtext("ReasonForClosure") in ("RC8", "RC9")
    return closed_after and any(episode.find(name) is not None for name in beyond)


def activity_after_none(episode: Any) -> bool:
    beyond = ("DateOfInitialCPC", "Assessments", "Section47")
    return says(episode, "ReferralNFA") and any(episode.find(name) is not None for name in beyond)


def none_beside_others(child: Any) -> bool:
    said = {one.text for one in child.iterfind(".//Disability")}
    return "NONE" in said and len(said) > 1


OF_CHILDREN: dict[str, Callable[[Any], bool]] = {
    "1510": wrong_letter,
    "1530": no_authority,
    "8545Q": lambda child: outside(day(child, "ChildIdentifiers/PersonDeathDate")),
    "8790": none_beside_others,
}
OF_EPISODES: dict[str, Callable[[Any], bool]] = {
    "2990": more_than_an_assessment,
    "8555Q": after_death,
    "8569Q": too_old_for_no_action,
    "8585Q": died_without_a_date,
    "8600": lambda episode: (day(episode, "CINreferralDate") or date.max) > END,
    "8620": lambda episode: outside(day(episode, "CINclosureDate")),
    "8825Q": lambda episode: (
        episode.findtext("ReasonForClosure") in ("RC8", "RC9") and episode.find("Assessments") is None
    ),
    "8831": activity_after_none,
}


def test_the_random_file_counted_by_hand_gives_the_same(samples: dict[str, Path]) -> None:
    tree = etree.parse(str(samples["fake_CIN_data.xml"]))
    counted = {rule: sum(map(fails, tree.iterfind(".//Child"))) for rule, fails in OF_CHILDREN.items()}
    counted |= {rule: sum(map(fails, tree.iterfind(".//CINdetails"))) for rule, fails in OF_EPISODES.items()}
    expected = FILES["fake_CIN_data.xml"][2]
    assert counted == {rule: expected[rule] for rule in counted}
    assert len(counted) == 12


def test_the_valid_return_fits_our_schema_and_the_published_one(shared: Path, tmp_path: Path) -> None:
    engine = engine_of(2026)
    mutators = Mutators(engine)
    try:
        content = mutators.valid
        assert mutators.judge_valid().findings == []
    finally:
        mutators.close()
    path = tmp_path / "valid.xml"
    with path.open("wb") as file:
        write_records(engine.collection, content, file.write)
    assert list(against_schema(engine.collection, path)) == []
    # What is new in 2026 stands in no published schema.
    tree = etree.parse(str(path))
    for new in list(tree.iterfind(".//PreProceedingsandFGDM")):
        new.getparent().remove(new)
    published = etree.XMLSchema(
        file=str(shared / "standards" / "files" / "cin" / "xsd" / "CIN_schema_2026.xsd")
    )
    published.assertValid(etree.parse(io.BytesIO(etree.tostring(tree))))


def test_the_schema_finds_in_a_sample_what_the_rules_cannot_say(samples: dict[str, Path]) -> None:
    found = list(against_schema(load("cin", 2026), samples["CIN_Census_2026.xml"]))
    assert {(one.places[0].path, one.message.split("'")[1]) for one in found} == {
        ("Child[1]", "ChildIdentifiers"),
        ("Child[1]", "Sex"),
        ("Child[1]", "AssessmentFactors"),
        ("Child[2]", "LAchildID"),
        ("Child[2]", "FactorsIdentifiedAtAssessment"),
    }
