"""The rules of the School Census against the public catalogue: every number is there, or accounted for."""

from __future__ import annotations

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from commonroom.collections.loader import DEFINITIONS, load
from commonroom.collections.model import Collection, Rule

TERMS = ("autumn", "spring", "summer")
NOT_IMPLEMENTED = DEFINITIONS / "school-census-spring" / "2026" / "NOT_IMPLEMENTED.md"
# Numbers of rules that are no more; nobody may give them a new meaning.
DELETED = {"2342", "2343", "2344", "2345", "2346"}
# Named by the facts at hand, and newer than the catalogue.
NEWER = {"1230Q", "1560Q", "1845", "1925Q", "2360", "2361", "2392", "2485", "3131"}
# Rules of our own, where items came after the catalogue.
OWN = re.compile(r"(AP|FAM|EXP|PA|WP)\d")
# Where the severity differs from the catalogue's; the rule says why.
OTHER_SEVERITY = {"130", "1320"}
# Their dates are those of the collection, not of the days the catalogue was written in.
OLD_YEARS = re.compile(r"20(0\d|1\d|2[0-4])-")


@cache
def rules() -> dict[str, Rule]:
    """Every rule of the three terms by its code; of one that terms write anew, the first."""
    found: dict[str, Rule] = {}
    for term in TERMS:
        for code, rule in census(term).rules.items():
            found.setdefault(code, rule)
    return found


def census(term: str) -> Collection:
    return load(f"school-census-{term}", 2026)


def catalogue(shared: Path) -> dict[str, dict[str, str]]:
    """Number -> entry of the public catalogue."""
    file = shared / "standards" / "files" / "school_census" / "rule_catalogue_2019.csv"
    if not file.is_file():
        pytest.skip("no shared data folder")
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["number"]: row for row in csv.DictReader(lines)}


def number(code: str, known: dict[str, dict[str, str]]) -> str:
    """The catalogue's number of a rule's code: newer lists mark queries by a Q."""
    return code if code in known else code.removesuffix("Q")


def listed() -> dict[str, str]:
    """Number -> reason, of what NOT_IMPLEMENTED.md lists."""
    rows = re.findall(
        r"^\| (\w+) \| .+? \| (.+?) \|$", NOT_IMPLEMENTED.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {code: reason for code, reason in rows if code not in ("number",)}


def test_every_number_of_the_catalogue_is_implemented_or_listed_with_a_reason(shared: Path) -> None:
    known = catalogue(shared)
    done = {number(code, known) for code in rules()}
    missing = set(known) - done
    assert missing == set(listed())
    assert all(len(reason) > 20 for reason in listed().values())
    text = NOT_IMPLEMENTED.read_text(encoding="utf-8")
    assert f"Of the {len(known)} rules" in text
    assert f"{len(known) - len(missing)} stand in the rules" in text
    assert f"These {len(missing)} do not" in text


def test_rules_beyond_the_catalogue_are_known_numbers_or_our_own(shared: Path) -> None:
    known = catalogue(shared)
    beyond = {code for code in rules() if number(code, known) not in known}
    own = {code for code in beyond if OWN.fullmatch(code)}
    assert beyond - own == NEWER
    assert all("of our own" in rules()[code].deviation for code in own)
    assert not DELETED & set(rules())


def test_severity_and_the_answer_wanted_are_those_of_the_catalogue(shared: Path) -> None:
    known = catalogue(shared)
    other = set()
    for code, rule in rules().items():
        entry = known.get(number(code, known))
        if entry is None:
            continue
        if rule.severity != entry["kind"]:
            other.add(number(code, known))
            assert rule.deviation, code
        elif rule.severity == "query":
            wanted = "confirm" if entry["confirmation_is_acceptable"] == "True" else "explain"
            assert (rule.reason or "explain") == wanted, code
    assert other == OTHER_SEVERITY


def test_a_query_that_wants_a_reason_says_which() -> None:
    for code, rule in rules().items():
        if rule.severity == "query" and rule.reason != "confirm":
            assert len(rule.reason_wanted) > 15, code


def test_messages_are_our_own_words_and_say_the_values(shared: Path) -> None:
    known = catalogue(shared)
    for code, rule in rules().items():
        entry = known.get(number(code, known))
        words = {rule.title.casefold(), rule.message.casefold()}
        assert entry is None or entry["description"].strip().casefold() not in words, code
        assert rule.message.endswith("."), code
        assert len(rule.message) > 15, code
    with_values = [code for code, rule in rules().items() if rule.placeholders]
    assert len(with_values) > len(rules()) * 0.9


def test_no_day_of_the_catalogue_stands_in_a_condition() -> None:
    """What follows the calendar is a parameter; the one fixed day is that on which suspensions got their name."""
    fixed = {
        code: sorted(set(OLD_YEARS.findall(rule.fails_when or "")))
        for code, rule in rules().items()
        if OLD_YEARS.search(rule.fails_when or "")
    }
    assert set(fixed) == {"2275"}


def is_simple(rule: Rule) -> bool:
    """True for a check of one value: missing, too long, not of the list, of another form; also if only of some phases."""
    if rule.others or rule.unique or rule.for_each is None or rule.fails_when is None:
        return False
    if any(word in rule.fails_when for word in ("age_on", "check_letter", "check_digit", "$")):
        return False
    columns = {
        column.name for column in sqlglot.parse_one(rule.fails_when, read="duckdb").find_all(exp.Column)
    }
    return len(columns - {"OnRoll", "Phase"}) <= 1


def test_at_least_150_rules_are_more_than_a_check_of_one_value() -> None:
    simple = {code for code, rule in rules().items() if is_simple(rule)}
    whole = len(rules()) - len(simple)
    print(f"{len(rules())} rules, {whole} of them more than a check of one value")
    assert {"110", "140", "1500", "1610", "2700"} <= simple
    assert not {"1510", "230", "560", "1925Q", "2165", "2530", "1940", "1762"} & simple
    assert whole >= 250


def test_count_by_term_and_shape() -> None:
    for term in TERMS:
        found = census(term).rules.values()
        shapes = Counter(shape for rule in found for shape in shapes_of(rule))
        print(term, len(found), dict(sorted(shapes.items())))
        assert {"one row", "with rows above", "unique", "none_of", "any_of", "figures of a row"} <= set(
            shapes
        )
        assert {"figures of the return", "previous return"} <= set(shapes)
    assert [len(census(term).rules) for term in TERMS] == [259, 312, 211]


def shapes_of(rule: Rule) -> set[str]:
    """The shapes of the format that a rule uses."""
    found = {
        "with rows above": bool(rule.reach),
        "unique": rule.unique is not None,
        "none_of": bool(rule.absences),
        "any_of": bool(rule.presences),
        "figures of a row": any(measure.each != "return" for measure in rule.counted),
        "figures of the return": any(measure.each == "return" for measure in rule.counted),
        "previous return": rule.needs_last_return,
    }
    shapes = {name for name, used in found.items() if used}
    return shapes or {"one row"}


@pytest.mark.parametrize("term", TERMS)
def test_no_check_of_a_value_is_made_twice(term: str) -> None:
    """Where a rule judges whether an item is there or of its list, the built-in check of the item is silent."""
    collection = census(term)
    for module in collection.modules.values():
        for item in module.items:
            for check, code in item.checked_by.items():
                rule = collection.rules[code]
                condition = " ".join(
                    filter(None, (rule.fails_when, *(measure.where for measure in rule.counted)))
                )
                figures = " ".join(value for measure in rule.counted for value in measure.values.values())
                assert item.name in f"{condition} {figures}", f"{module.name}.{item.name} {check} {code}"
