"""Declarations that do not agree are refused with file, line and key; a year lies over the one before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.scaffold import begin
from commonroom.problems import Problem
from tests.unit.collections.conftest import Clubs

RULE = {"for_each": "Club", "fails_when": "End < Start"}


def refused(clubs: Clubs, *rules: dict[str, Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        Engine(clubs.rules(*rules))
    return caught.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"for_each": "Clubb"}, "there is no module Clubb"),
        ({"with": ["Visit"]}, "`with: Visit` is neither above Club"),
        ({"pair_with": {"module": "Nothing"}}, "there is no module Nothing"),
        ({"pair_with": {"module": "Visit", "as": "v", "same": "Home"}}, "Home is no ancestor of Visit"),
        ({"pair_with": {"module": "Club"}}, "two sets of rows have the name Club"),
        ({"any_of": {"module": "Club", "where": "TRUE"}}, "two sets of rows have the name Club"),
        ({"unique": {"items": ["Colour"]}}, "Club has no item Colour"),
        ({"unique": {"items": ["Kind"], "same": "Home"}}, "Home is no ancestor of Club"),
        ({"point_at": ["Pupil.Number"]}, "there is no item `Pupil.Number` within its reach"),
        ({"message": "See {Colour}."}, "there is no `{Colour}` within its reach"),
        ({"message": "See {$colour}."}, "there is no `{$colour}` within its reach"),
        ({"reason": "explain"}, "only a query asks for a reason"),
        ({"fails_when": None}, "it does not say when it fails"),
        ({"for_each": None, "with": ["Pupil"]}, "only a rule with `for_each`"),
        ({"none_of": {"module": "last_return.Club", "same": "Pupil"}}, "share no ancestor"),
    ],
)
def test_a_rule_that_names_what_is_not_there(clubs: Clubs, change: dict[str, Any], words: str) -> None:
    problem = refused(clubs, {**RULE, **change})
    assert problem.code == "CR-180"
    assert words in problem.detail
    assert "rules.yaml, line " in problem.where


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("End <", "not a condition"),
        ("End < Start; DROP TABLE x", "exactly one condition"),
        (" ", "exactly one condition"),
        ("(SELECT 1) = 1", "not in the language"),
        ("Kind IN (SELECT Kind FROM Club)", "goes with a list"),
        ("EXISTS (SELECT 1)", "not in the language"),
        ("Kind = read_text('/etc/passwd')", "no function"),
        ("Kind IN (SELECT * FROM read_csv('/etc/passwd'))", "goes with a list"),
        ("Kind = getenv('HOME')", "no function"),
        ("Kind = current_setting('x')", "no function"),
        ("random() > 0.5", "not in the language"),
        ("now() > Start", "no function"),
        ("current_date > Start", "not in the language"),
        ("count(*) > 1", "not in the language"),
        ("sum(Places) OVER () > 1", "not in the language"),
        ("CAST(Kind AS INTEGER) = 1", "not in the language"),
        ("Kind::DATE = Start", "not in the language"),
        ("Kind ~ 'A'", "not in the language"),
        ("Colour = 'x'", "Club has no item `Colour`"),
        ("Home.Town = 'x'", "there are no rows named `Home`"),
        ("main.Club.Kind = 'x'", "is written Module.Item"),
        ("Kind = 1", "Kind is a code"),
        ("Places = '1'", "Places is a integer"),
        ("Start > '1 May'", "Start is a date"),
        ("Start > DATE '2026-02-30'", "is no date"),
        ("Kind IN codeset('colour')", "there is no code set `colour`"),
        ("$colour = 1", "there is no parameter `$colour`"),
        ("is_true(Kind, Start)", "takes 1 value"),
        ("matches(Kind, Kind)", "a text in quotes"),
        ("matches(Kind, '(')", "no regular expression"),
        ("is_given(upper(Kind))", "is no item"),
        ("End > Start + INTERVAL 1 HOUR", "no unit here"),
        (f"Kind = '{'x' * 10_001}'", "longer than"),
        ("NOT " * 300 + "Kind = 'x'", ""),
        ("Kind = 'x' -- a comment", None),
        ("End BETWEEN Start AND Start + INTERVAL 2 WEEK", None),
    ],
)
def test_conditions_are_held_against_a_list(clubs: Clubs, condition: str, words: str | None) -> None:
    if words is None:
        Engine(clubs.rules({**RULE, "fails_when": condition})).prove()
        return
    problem = refused(clubs, {**RULE, "fails_when": condition})
    assert problem.code == "CR-182"
    assert words in problem.detail
    assert problem.where.startswith("rule 1")


def test_rows_of_the_whole_return_are_found_by_an_equal_value(clubs: Clubs) -> None:
    pair = {"module": "Club", "as": "other", "same": "return"}
    problem = refused(clubs, {**RULE, "any_of": {**pair, "where": "other.Start < Club.Start"}})
    assert "compares each row with every row" in problem.detail
    Engine(
        clubs.rules(
            {**RULE, "any_of": {**pair, "where": "other.Kind = Club.Kind AND other.Start < Club.Start"}}
        )
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("parent: Pupil\n    path: Home", "parent: Nobody\n    path: Home", "there is no module Nobody"),
        ("name: Town}", "name: Town__x}", "no name for a column"),
        ("{name: Town}", "{name: Town}\n      - {name: town}", "stands twice"),
        ("codeset: club_kind", "codeset: club_sort", "there is no code set `club_sort`"),
        ("type: code, codeset: club_kind", "type: code", "a code needs a `codeset`"),
        ("{name: Town}", "{name: Town, checked_by: {code: '9'}}", "there is no rule 9"),
        ("{name: Town}", "{name: Town, checked_by: {colour: '1'}}", "`checked_by` knows"),
        ("header: {Collection", "header: {Colour: red, Collection", "there is no item Header.Colour"),
        ("description: Who", "record: Nobody\ndescription: Who", "there is no module Nobody"),
        ("title: After-school clubs\n", "", "does not say its `title`"),
        ("name: clubs", "name: club", "the folder is clubs/2026"),
        ("description: Who", "colour: red\ndescription: Who", "unknown field `colour`"),
        ("description: Who", 'inherits: "2025"\ndescription: Who', "no collection clubs of the year 2025"),
        ("description: Who", 'inherits: "2026"\ndescription: Who', "inherits from itself"),
        ("description: Who", "retire: ['9']\ndescription: Who", "no rule 9"),
        ("description: Who", "drop: [Home]\ndescription: Who", "has no `Home`"),
    ],
)
def test_a_cover_that_does_not_agree(clubs: Clubs, old: str, new: str, words: str) -> None:
    text = (clubs.own / "collection.yaml").read_text()
    assert old in text
    clubs.cover(text.replace(old, new, 1))
    problem = refused(clubs, RULE)
    assert words in problem.detail
    assert problem.code in ("CR-001", "CR-180", "CR-181")


def test_a_rule_stands_once(clubs: Clubs) -> None:
    assert "stands twice" in refused(clubs, RULE, RULE).detail


def test_a_pattern_that_is_none_is_told_before_any_return(clubs: Clubs) -> None:
    text = (clubs.own / "collection.yaml").read_text()
    clubs.cover(text.replace('pattern: "[A-Z][0-9]+"', 'pattern: "[A-Z"'))
    engine = Engine(clubs.rules(RULE))
    with pytest.raises(Problem, match="CR-184"):
        engine.prove()


class TestYears:
    """2027 over 2026."""

    def _next(self, clubs: Clubs, cover: dict[str, Any], *rules: dict[str, Any]) -> Any:
        clubs.rules(RULE, {**RULE, "code": "2"}, {**RULE, "code": "3"})
        folder = clubs.folder / "clubs" / "2027"
        folder.mkdir()
        whole = {"name": "clubs", "year": "2027", "inherits": "2026", **cover}
        (folder / "collection.yaml").write_text(yaml.safe_dump(whole))
        if rules:
            plain = {"severity": "error", "title": "New", "message": "New."}
            (folder / "rules.yaml").write_text(
                yaml.safe_dump({"rules": [{**plain, **rule} for rule in rules]})
            )
        loader.forget()
        return loader.load("clubs", 2027, [clubs.folder])

    def test_only_what_changes_is_written(self, clubs: Clubs) -> None:
        home = {
            "name": "Home",
            "many": False,
            "items": [{"name": "Town", "length": "40"}, {"name": "Country"}],
        }
        collection = self._next(
            clubs,
            {
                "reference_date": "2027-01-21",
                "header": {"Year": "2027"},
                "retire": ["2"],
                "change": [{"code": "3", "severity": "query", "message": "Is that so?"}],
                "drop": ["Visit", "Pupil.Coach"],
                "modules": [home],
            },
            {**RULE, "code": "4"},
        )
        assert list(collection.rules) == ["1", "3", "4"]
        assert (collection.rules["3"].severity, collection.rules["3"].message) == ("query", "Is that so?")
        assert collection.rules["3"].fails_when == RULE["fails_when"]
        assert collection.header == {"Collection": "CLUB", "Year": "2027"}
        assert collection.title == "After-school clubs"
        assert "Visit" not in collection.modules
        assert "Coach" not in collection.modules["Pupil"].by_name
        assert list(collection.modules["Home"].by_name) == ["Town", "Moved", "Country"]
        assert collection.modules["Home"].by_name["Town"].length == 40
        assert str(collection.period.start) == "2025-09-01"
        assert loader.years("clubs", [clubs.folder]) == [2026, 2027]

    def test_a_rule_of_the_same_code_takes_the_place(self, clubs: Clubs) -> None:
        collection = self._next(clubs, {}, {**RULE, "code": "2", "fails_when": "End IS NULL"})
        assert collection.rules["2"].fails_when == "End IS NULL"

    @pytest.mark.parametrize(
        "cover",
        [{"retire": ["9"]}, {"change": [{"code": "9"}]}, {"drop": ["Pupil.Colour"]}, {"drop": ["Nothing"]}],
    )
    def test_what_is_not_there_cannot_be_changed(self, clubs: Clubs, cover: dict[str, Any]) -> None:
        with pytest.raises(Problem) as caught:
            self._next(clubs, cover)
        assert caught.value.code == "CR-180"

    def test_a_deadline_is_not_inherited(self, clubs: Clubs) -> None:
        clubs.cover((clubs.own / "collection.yaml").read_text() + "deadline: 2026-02-01\n")
        assert self._next(clubs, {}).deadline is None


class TestLocalRules:
    """An authority's own rules for its schools are a file beside the collection."""

    def _with(self, clubs: Clubs, rule: dict[str, Any]) -> Any:
        clubs.rules(RULE)
        path = clubs.folder.parent / "own.yaml"
        plain = {"severity": "query", "title": "Ours", "message": "Ours."}
        path.write_text(yaml.safe_dump({"rules": [{**plain, **rule}]}))
        loader.forget()
        return loader.load("clubs", 2026, [clubs.folder], [path])

    def test_they_join_the_rules_of_the_collection(self, clubs: Clubs) -> None:
        collection = self._with(clubs, {**RULE, "code": "LA-1"})
        assert list(collection.rules) == ["1", "LA-1"]
        assert collection.rules["LA-1"].source.endswith("own.yaml")
        assert collection.rules["1"].source == ""

    @pytest.mark.parametrize("rule", [{**RULE, "code": "1"}, {"for_each": "Nothing", "code": "LA-1"}])
    def test_they_replace_nothing_and_must_agree(self, clubs: Clubs, rule: dict[str, Any]) -> None:
        with pytest.raises(Problem) as caught:
            self._with(clubs, rule)
        assert caught.value.code == "CR-180"
        assert "own.yaml" in caught.value.where


def test_a_collection_that_does_not_exist(clubs: Clubs) -> None:
    with pytest.raises(Problem) as caught:
        loader.load("nothing", 2026, [clubs.folder])
    assert (caught.value.code, caught.value.status) == ("CR-181", 404)
    with pytest.raises(Problem) as caught:
        loader.load("clubs", 1999, [clubs.folder])
    assert "2026" in caught.value.remedy


def test_a_new_collection_is_whole_at_once(tmp_path: Path) -> None:
    made = begin(tmp_path, "breakfast-clubs", 2027)
    assert [path.name for path in made] == ["collection.yaml", "rules.yaml", "valid.yaml"]
    collection = loader.load("breakfast-clubs", 2027, [tmp_path])
    Engine(collection).prove()
    assert collection.header == {"Collection": "BC", "Year": "2027"}
    for name in ("Clubs", "../clubs", "", "a b"):
        with pytest.raises(Problem) as caught:
            begin(tmp_path, name, 2027)
        assert caught.value.code == "CR-185"
    with pytest.raises(Problem, match="CR-185"):
        begin(tmp_path, "breakfast-clubs", 2027)
