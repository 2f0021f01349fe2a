"""Every rule of every collection: its examples, through the statement that judges returns; its fault, from end to end.

A new rule, year or collection is under test as soon as its declaration exists: nothing here names one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.examples import Examples
from commonroom.collections.model import Collection
from commonroom.collections.mutators import Mutators, starts, valid_file


def collections() -> list[Collection]:
    """All that can be returned, the newest year of each first."""
    found = [loader.load(name, year) for name in loader.names() for year in reversed(loader.years(name))]
    return [collection for collection in found if collection.status != "base"]


def rules() -> Iterator[tuple[str, int, str]]:
    """Each rule as it stands in the newest year that has it so; an inherited one is not tried again."""
    tried: list[object] = []
    for collection in collections():
        for rule in collection.rules.values():
            if not any(rule is one for one in tried):
                tried.append(rule)
                yield collection.name, collection.year, rule.code


WHOLE = [(one.name, one.year) for one in collections()]
RULES = list(rules())
WITH_VALID = [(one.name, one.year) for one in collections() if valid_file(one) is not None]


@cache
def engine(name: str, year: int) -> Engine:
    return Engine(loader.load(name, year))


@cache
def examples(name: str, year: int) -> Examples:
    return Examples(engine(name, year))


@cache
def mutators(name: str, year: int) -> Mutators:
    return Mutators(engine(name, year))


@pytest.fixture(scope="module", autouse=True)
def _release() -> Iterator[None]:
    yield
    for made in (examples, mutators, engine):
        made.cache_clear()


@pytest.mark.parametrize(("name", "year"), WHOLE)
def test_every_condition_can_be_run(name: str, year: int) -> None:
    engine(name, year).prove()


@pytest.mark.parametrize(("name", "year", "code"), RULES)
def test_examples_come_out_as_they_say(name: str, year: int, code: str) -> None:
    failures = examples(name, year).of_rule(engine(name, year).collection.rules[code])
    assert not failures, "\n".join(f"example {failure.index}: {failure.detail}" for failure in failures)


@pytest.mark.parametrize(
    ("name", "year", "start"),
    [(*one, start) for one in WITH_VALID for start in starts(loader.load(*one))],
)
def test_nothing_is_found_in_the_valid_return(name: str, year: int, start: str) -> None:
    report = mutators(name, year).judge_valid(start)
    assert report.records > 0
    assert [(finding.rule, finding.message) for finding in report.findings] == []
    assert set(report.outcomes.values()) == {"passed"}


@pytest.mark.parametrize(("name", "year", "code"), [rule for rule in RULES if rule[:2] in WITH_VALID])
def test_one_fault_in_the_valid_return_gives_this_rule(name: str, year: int, code: str) -> None:
    assert mutators(name, year).difference(engine(name, year).collection.rules[code]) == ""


def test_the_newest_year_of_each_collection_has_a_valid_return() -> None:
    newest = {(name, max(loader.years(name))) for name in loader.names()}
    assert {key for key in newest if loader.load(*key).status != "base"} <= set(WITH_VALID)
