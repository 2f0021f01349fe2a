"""An invented census of children in need: as many children as asked for, some with one known fault, and the truth beside it.

Nothing here uses the engine under test: the file is written as text, and the truth is what the maker of a fault says of it.
Every child without a fault is one in which no rule finds anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from rules_bench.person import upn

LETTERS = "ABCDEFGHJKLMNPQRTUVWXYZ"
ETHNICITIES = (
    "WBRI",
    "WIRI",
    "WOTH",
    "MWBC",
    "MWAS",
    "AIND",
    "APKN",
    "ABAN",
    "BCRB",
    "BAFR",
    "CHNE",
    "OOTH",
    "REFU",
)
DISABILITIES = ("MOB", "HAND", "PC", "INC", "COMM", "LD", "HEAR", "VIS", "BEH", "CON", "AUT")
SOURCES = ("1A", "1B", "1C", "1D", "2A", "2B", "3A", "3B", "3D", "3E", "4", "5A", "5B", "6", "7", "9", "10")
NEEDS = ("N1", "N2", "N3", "N4", "N5", "N6", "N7")
FACTORS = ("1A", "2B", "3B", "4A", "4B", "5A", "6B", "16A", "17A", "18B", "19B")
ABUSE = ("NEG", "PHY", "SAB", "EMO", "MUL")

Tree = list[tuple[str, "str | Tree"]]
Truth = tuple[str, str]
# A child while it is made: element paths are plain keys, rows are lists.
Child = dict[str, object]

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<Message>
  <Header>
    <CollectionDetails><Collection>CIN</Collection><Year>2026</Year><ReferenceDate>2026-03-31</ReferenceDate></CollectionDetails>
    <Source><SourceLevel>L</SourceLevel><LEA>823</LEA><SoftwareCode>bench</SoftwareCode><Release>1</Release><SerialNo>001</SerialNo><DateTime>2026-05-11T09:30:00</DateTime></Source>
  </Header>
  <Children>
"""
TAIL = "  </Children>\n</Message>\n"


def write(path: Path, children: int, seed: int = 1, faulty: float = 0.02) -> list[Truth]:
    """Write a return; the truth: rule and path of the first place of every finding that there is in it."""
    chance = random.Random(seed)  # noqa: S311 - invented children
    truth: list[Truth] = []
    doubled: tuple[int, str] | None = None
    with path.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        for number in range(1, children + 1):
            child = make(chance, number)
            if chance.random() < faulty:
                fault = chance.choice(FAULTS)
                found = fault(child)
                if found is not None:
                    truth += [(rule, f"Child[{number}]{place}") for rule, place in found]
            elif doubled is None and number > 20:
                doubled = (number, str(_identifiers(child)["LAchildID"]))
            elif doubled is not None and number % 5_003 == 0:
                # The second record with one and the same number.
                _identifiers(child)["LAchildID"] = doubled[1]
                truth += [("8510", f"Child[{n}]/ChildIdentifiers[1]") for n in (doubled[0], number)]
                doubled = None
            file.write(text(child))
        file.write(TAIL)
    return truth


def make(chance: random.Random, number: int) -> Child:
    """One child in whom no rule finds anything."""
    unborn = chance.random() < 0.02
    identifiers: dict[str, str] = {"LAchildID": f"L{number:08d}"}
    born = date(2009, 1, 5) + timedelta(days=chance.randrange(5_400))
    if unborn:
        due = date(2026, 4, 1) + timedelta(days=chance.randrange(60))
        identifiers |= {"UPNunknown": "UN1", "ExpectedPersonBirthDate": due.isoformat(), "Sex": "U"}
    else:
        identifiers["UPN"] = upn(number)
        if chance.random() < 0.1:
            identifiers["FormerUPN"] = upn(number + 5_000_000)
        identifiers |= {"PersonBirthDate": born.isoformat(), "Sex": chance.choice("MF")}
    disabilities = (
        ["NONE"] if chance.random() < 0.6 else chance.sample(DISABILITIES, chance.choice((1, 1, 2, 3)))
    )
    story = STORIES[-1] if unborn else chance.choices(STORIES, WEIGHTS)[0]
    episodes = story(chance)
    return {
        "identifiers": identifiers,
        "ethnicity": chance.choice(ETHNICITIES),
        "disabilities": [] if unborn else disabilities,
        "episodes": episodes,
    }


def _day(chance: random.Random, first: date, last: date) -> date:
    return first + timedelta(days=chance.randrange((last - first).days + 1))


def _weekday(day: date) -> date:
    return day + timedelta(days=max(0, 7 - day.weekday()) if day.weekday() > 4 else 0)


def _episode(chance: random.Random, referral: date, **more: object) -> dict[str, object]:
    return {
        "CINreferralDate": referral.isoformat(),
        "ReferralSource": chance.choice(SOURCES),
        "PrimaryNeedCode": chance.choice(NEEDS),
        "ReferralNFA": "0",
        **more,
    }


def _assessment(chance: random.Random, start: date) -> dict[str, object]:
    end = start + timedelta(days=chance.randrange(10, 40))
    return {
        "AssessmentActualStartDate": start.isoformat(),
        "AssessmentAuthorisationDate": end.isoformat(),
        "factors": chance.sample(FACTORS, chance.choice((1, 2, 2, 3))),
    }


def _nothing_followed(chance: random.Random) -> list[dict[str, object]]:
    referral = _day(chance, date(2025, 4, 2), date(2026, 3, 20))
    return [
        {
            "CINreferralDate": referral.isoformat(),
            "ReferralSource": chance.choice(SOURCES),
            "ReferralNFA": "1",
        }
    ]


def _assessed_and_closed(chance: random.Random) -> list[dict[str, object]]:
    referral = _day(chance, date(2025, 4, 2), date(2025, 12, 20))
    assessment = _assessment(chance, referral + timedelta(days=1))
    closed = referral + timedelta(days=60)
    return [
        _episode(
            chance,
            referral,
            CINclosureDate=closed.isoformat(),
            ReasonForClosure="RC7",
            assessments=[assessment],
        )
    ]


def _twice(chance: random.Random) -> list[dict[str, object]]:
    first = _day(chance, date(2025, 4, 2), date(2025, 6, 20))
    second = first + timedelta(days=120)
    closed = first + timedelta(days=75)
    return [
        _episode(
            chance,
            first,
            CINclosureDate=closed.isoformat(),
            ReasonForClosure="RC7",
            assessments=[_assessment(chance, first + timedelta(days=2))],
        ),
        _episode(chance, second, assessments=[_assessment(chance, second + timedelta(days=1))]),
    ]


def _with_plan(chance: random.Random) -> list[dict[str, object]]:
    referral = _day(chance, date(2024, 6, 1), date(2025, 11, 20))
    start = _day(chance, max(referral, date(2025, 4, 10)) + timedelta(days=50), date(2026, 2, 20))
    plan = {"CINPlanStartDate": start.isoformat()}
    if chance.random() < 0.5:
        plan["CINPlanEndDate"] = (start + timedelta(days=30)).isoformat()
    began = max(referral + timedelta(days=1), date(2025, 4, 2))
    return [_episode(chance, referral, assessments=[_assessment(chance, began)], plans=[plan])]


def _enquiry(chance: random.Random) -> list[dict[str, object]]:
    referral = _day(chance, date(2025, 4, 2), date(2025, 11, 20))
    began = referral + timedelta(days=chance.randrange(1, 20))
    enquiry = {"S47ActualStartDate": began.isoformat(), "ICPCnotRequired": "1"}
    return [
        _episode(
            chance,
            referral,
            assessments=[_assessment(chance, referral + timedelta(days=1))],
            enquiries=[enquiry],
        )
    ]


def _protected(chance: random.Random) -> list[dict[str, object]]:
    referral = _day(chance, date(2025, 4, 2), date(2025, 9, 20))
    began = referral + timedelta(days=chance.randrange(20, 50))
    conference = _weekday(began + timedelta(days=14))
    enquiry = {
        "S47ActualStartDate": began.isoformat(),
        "InitialCPCtarget": _weekday(began + timedelta(days=21)).isoformat(),
        "DateOfInitialCPC": conference.isoformat(),
        "ICPCnotRequired": "0",
    }
    plan: dict[str, object] = {
        "CPPstartDate": conference.isoformat(),
        "InitialCategoryOfAbuse": chance.choice(ABUSE),
        "LatestCategoryOfAbuse": chance.choice(ABUSE),
        "NumberOfPreviousCPP": str(chance.choice((0, 0, 0, 1, 2))),
        "reviews": [
            (conference + timedelta(days=days)).isoformat() for days in (80, 110)[: chance.choice((1, 2))]
        ],
    }
    return [
        _episode(
            chance,
            referral,
            assessments=[_assessment(chance, referral + timedelta(days=1))],
            enquiries=[enquiry],
            protection=[plan],
        )
    ]


def _open(chance: random.Random) -> list[dict[str, object]]:
    referral = _day(chance, date(2026, 2, 1), date(2026, 3, 1))
    return [_episode(chance, referral, assessments=[_assessment(chance, referral)][:0])]


STORIES: list[Callable[[random.Random], list[dict[str, object]]]] = [
    _nothing_followed, _assessed_and_closed, _twice, _with_plan, _enquiry, _protected, _open,
]  # fmt: skip
WEIGHTS = (15, 30, 12, 15, 10, 15, 3)


def text(child: Child) -> str:
    """The child as XML."""
    identifiers = _identifiers(child)
    lines = ["    <Child>\n      <ChildIdentifiers>\n"]
    lines += [f"        <{name}>{value}</{name}>\n" for name, value in identifiers.items()]
    lines.append("      </ChildIdentifiers>\n      <ChildCharacteristics>\n")
    if child["ethnicity"]:
        lines.append(f"        <Ethnicity>{child['ethnicity']}</Ethnicity>\n")
    disabilities = _list(child, "disabilities")
    if disabilities:
        lines.append("        <Disabilities>\n")
        lines += [f"          <Disability>{one}</Disability>\n" for one in disabilities]
        lines.append("        </Disabilities>\n")
    lines.append("      </ChildCharacteristics>\n")
    for episode in _list(child, "episodes"):
        lines += _episode_lines(episode)
    lines.append("    </Child>\n")
    return "".join(lines)


def _episode_lines(episode: dict[str, object]) -> Iterator[str]:
    yield "      <CINdetails>\n"
    plain = ("CINreferralDate", "ReferralSource", "PrimaryNeedCode", "CINclosureDate", "ReasonForClosure")
    yield from _items(episode, plain, 8)
    for assessment in _list(episode, "assessments"):
        yield "        <Assessments>\n"
        yield from _items(assessment, ("AssessmentActualStartDate", "AssessmentAuthorisationDate"), 10)
        factors = _list(assessment, "factors")
        if factors:
            yield "          <FactorsIdentifiedAtAssessment>\n"
            for factor in factors:
                yield f"            <AssessmentFactors>{factor}</AssessmentFactors>\n"
            yield "          </FactorsIdentifiedAtAssessment>\n"
        yield "        </Assessments>\n"
    for plan in _list(episode, "plans"):
        yield "        <CINPlanDates>\n"
        yield from _items(plan, ("CINPlanStartDate", "CINPlanEndDate"), 10)
        yield "        </CINPlanDates>\n"
    for enquiry in _list(episode, "enquiries"):
        yield "        <Section47>\n"
        names = ("S47ActualStartDate", "InitialCPCtarget", "DateOfInitialCPC", "ICPCnotRequired")
        yield from _items(enquiry, names, 10)
        yield "        </Section47>\n"
    yield from _items(episode, ("ReferralNFA",), 8)
    for plan in _list(episode, "protection"):
        yield "        <ChildProtectionPlans>\n"
        names = (
            "CPPstartDate",
            "CPPendDate",
            "InitialCategoryOfAbuse",
            "LatestCategoryOfAbuse",
            "NumberOfPreviousCPP",
        )
        yield from _items(plan, names, 10)
        for review in _list(plan, "reviews"):
            yield f"          <Reviews>\n            <CPPreviewDate>{review}</CPPreviewDate>\n          </Reviews>\n"
        yield "        </ChildProtectionPlans>\n"
    yield "      </CINdetails>\n"


def _items(row: dict[str, object], names: tuple[str, ...], indent: int) -> Iterator[str]:
    for name in names:
        if row.get(name):
            yield f"{' ' * indent}<{name}>{row[name]}</{name}>\n"


def _identifiers(child: Child) -> dict[str, str]:
    found = child["identifiers"]
    assert isinstance(found, dict)
    return found


def _list(row: dict[str, object], name: str) -> list:  # type: ignore[type-arg]
    found = row.get(name, [])
    assert isinstance(found, list)
    return found


# Faults: each changes a child and says what must be found, as (rule, path below the child); None where it does not fit.

Fault = Callable[[Child], "list[Truth] | None"]


def _wrong_letter(child: Child) -> list[Truth] | None:
    identifiers = _identifiers(child)
    if "UPN" not in identifiers:
        return None
    letter = LETTERS[(LETTERS.index(identifiers["UPN"][0]) + 7) % 23]
    identifiers["UPN"] = letter + identifiers["UPN"][1:]
    return [("1510", "/ChildIdentifiers[1]")]


def _no_number(child: Child) -> list[Truth]:
    del _identifiers(child)["LAchildID"]
    return [("8500", "/ChildIdentifiers[1]")]


def _no_ethnicity(child: Child) -> list[Truth]:
    child["ethnicity"] = ""
    return [("4220", "/ChildCharacteristics[1]")]


def _no_date(child: Child) -> list[Truth] | None:
    identifiers = _identifiers(child)
    if "PersonBirthDate" not in identifiers:
        return None
    identifiers["PersonBirthDate"] = identifiers["PersonBirthDate"][:8] + "32"
    return [("type", "/ChildIdentifiers[1]")]


def _same_disability(child: Child) -> list[Truth] | None:
    disabilities = _list(child, "disabilities")
    if disabilities in ([], ["NONE"]):
        return None
    disabilities.append(disabilities[0])
    return [("8794", f"/ChildCharacteristics[1]/Disabilities[{n}]") for n in (1, len(disabilities))]


def _no_flag(child: Child) -> list[Truth] | None:
    episode = _list(child, "episodes")[-1]
    if episode["ReferralNFA"] == "1" or "ExpectedPersonBirthDate" in _identifiers(child):
        return None
    episode["ReferralNFA"] = "perhaps"
    return [("8568", f"/CINdetails[{len(_list(child, 'episodes'))}]")]


def _authorised_before(child: Child) -> list[Truth] | None:
    for number, episode in enumerate(_list(child, "episodes"), start=1):
        for assessment in _list(episode, "assessments"):
            start = date.fromisoformat(assessment["AssessmentActualStartDate"])
            if start > date(2025, 4, 4):
                assessment["AssessmentAuthorisationDate"] = (start - timedelta(days=1)).isoformat()
                return [("8608", f"/CINdetails[{number}]/Assessments[1]")]
    return None


def _no_reason(child: Child) -> list[Truth] | None:
    episode = _list(child, "episodes")[0]
    if episode.pop("ReasonForClosure", None) is None:
        return None
    return [("8805", "/CINdetails[1]")]


def _no_closure(child: Child) -> list[Truth] | None:
    number = len(_list(child, "episodes"))
    episode = _list(child, "episodes")[-1]
    if "CINclosureDate" in episode:
        return None
    episode["ReasonForClosure"] = "RC3"
    return [("8810", f"/CINdetails[{number}]")]


def _plan_backwards(child: Child) -> list[Truth] | None:
    for plan in _list(_list(child, "episodes")[0], "plans"):
        start = date.fromisoformat(plan["CINPlanStartDate"])
        plan["CINPlanEndDate"] = (start - timedelta(days=3)).isoformat()
        return [("4011", "/CINdetails[1]/CINplanDates[1]")]
    return None


def _weekend(child: Child) -> list[Truth] | None:
    for enquiry in _list(_list(child, "episodes")[0], "enquiries"):
        if "DateOfInitialCPC" in enquiry:
            day = date.fromisoformat(enquiry["DateOfInitialCPC"])
            saturday = (day + timedelta(days=5 - day.weekday())).isoformat()
            enquiry["DateOfInitialCPC"] = saturday
            _list(_list(child, "episodes")[0], "protection")[0]["CPPstartDate"] = saturday
            return [("8875", "/CINdetails[1]/Section47[1]")]
    return None


def _long_number(child: Child) -> list[Truth]:
    _identifiers(child)["LAchildID"] += "X" * 20
    return [("1570", "/ChildIdentifiers[1]")]


FAULTS: list[Fault] = [
    _wrong_letter, _no_number, _no_ethnicity, _no_date, _same_disability, _no_flag, _authorised_before, _no_reason,
    _no_closure, _plan_backwards, _weekend, _long_number,
]  # fmt: skip
