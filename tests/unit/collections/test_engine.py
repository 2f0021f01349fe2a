"""Every shape of rule, on a small collection: what fails, where, with which words, and when nothing can be said."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar

import pytest

from commonroom.collections.engine import Engine
from commonroom.collections.model import RETURN
from commonroom.collections.tables import Tables
from commonroom.problems import Problem
from tests.unit.collections.conftest import Clubs, Judge, places

PUPILS = {
    "Pupil": [
        {"Number": "A1", "Home": {"Town": "Ely"}, "Club": [{"Kind": "ART", "Start": "2025-09-10"}]},
        {
            "Number": "A2",
            "Club": [
                {
                    "Kind": "ART",
                    "Start": "2025-09-10",
                    "End": "2025-09-01",
                    "Visit": ["2025-09-11", "2025-09-18"],
                },
                {"Kind": "SPT", "Start": "2025-10-01"},
                {"Start": "2025-10-01", "Visit": ["2025-10-02"]},
            ],
        },
    ]
}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"for_each": "Club", "fails_when": "End < Start"}, [["Pupil[2]/Club[1]"]]),
        ({"for_each": "Club", "fails_when": "Kind IS NULL"}, [["Pupil[2]/Club[3]"]]),
        (
            {"for_each": "Visit", "with": ["Club", "Pupil"], "fails_when": "Club.Kind = 'ART' AND Pupil.Number = 'A2'"},
            [["Pupil[2]/Club[1]/Visit[1]"], ["Pupil[2]/Club[1]/Visit[2]"]],
        ),
        ({"for_each": "Club", "with": ["Home"], "fails_when": "Home.Town = 'Ely'"}, [["Pupil[1]/Club[1]"]]),
        ({"for_each": "Visit", "with": ["Home"], "fails_when": "Home._row IS NULL AND Visit > $period_start + 40"}, []),
        (
            {
                "for_each": "Club",
                "pair_with": {"module": "Club", "as": "other", "same": "Pupil"},
                "fails_when": "Start = other.Start",
                "point_at": ["Start", "other.Kind"],
            },
            [["Pupil[2]/Club[2]", "Pupil[2]/Club[3]"], ["Pupil[2]/Club[3]", "Pupil[2]/Club[2]"]],
        ),
        (
            {
                "for_each": "Club",
                "pair_with": {"module": "Club", "as": "other", "same": RETURN, "with": ["Pupil"],
                 "where": "other.Kind = Club.Kind"},
                "with": ["Pupil"],
                "fails_when": "other_Pupil.Number > Pupil.Number",
            },
            [["Pupil[1]/Club[1]"]],
        ),
        ({"for_each": "Club", "unique": {"items": ["Kind"]}}, [["Pupil[1]/Club[1]",
         "Pupil[2]/Club[1]"], ["Pupil[2]/Club[1]", "Pupil[1]/Club[1]"]]),
        (
            {"for_each": "Club", "unique": {"items": ["Start"], "same": "Pupil"}, "point_at": ["Start"]},
            [["Pupil[2]/Club[2]", "Pupil[2]/Club[3]"], ["Pupil[2]/Club[3]", "Pupil[2]/Club[2]"]],
        ),
        ({"for_each": "Club", "unique": {"items": ["Kind"], "where": "End IS NULL"}}, []),
        ({"for_each": "Visit", "unique": {"items": ["Visit"], "same": "Pupil"}}, []),
        ({"for_each": "Club", "none_of": {"module": "Visit", "same": "Club"}}, [["Pupil[1]/Club[1]"], ["Pupil[2]/Club[2]"]]),
        ({"for_each": "Pupil", "none_of": {"module": "Visit", "same": "Pupil"}}, [["Pupil[1]"]]),
        (
            {"for_each": "Pupil", "none_of": [{"module": "Home"}, {"module": "Visit", "where": "Visit > Pupil.Born"}]},
            [["Pupil[2]"]],
        ),
        (
            {"for_each": "Pupil", "any_of": {"module": "Visit", "where": "Visit > DATE '2025-09-15'"},
             "point_at": ["Number", "Visit.Visit"]},
            [["Pupil[2]", "Pupil[2]/Club[1]/Visit[2]", "Pupil[2]/Club[3]/Visit[1]"]],
        ),
        (
            {
                "for_each": "Pupil",
                "any_of": [{"module": "Home", "where": "Town = 'Ely'"}, {"module": "Club", "where": "Kind = 'SPT'"}],
                "point_at": ["Club.Kind", "Home.Town"],
            },
            [["Pupil[1]/Home[1]"], ["Pupil[2]/Club[2]"]],
        ),
        (
            {
                "for_each": "Visit",
                "any_of": {"module": "Visit", "as": "other", "same": "Pupil", "where": "other.Visit > Visit.Visit + 10"},
                "point_at": ["Visit", "other.Visit"],
            },
            [["Pupil[2]/Club[1]/Visit[1]", "Pupil[2]/Club[3]/Visit[1]"], ["Pupil[2]/Club[1]/Visit[2]",
             "Pupil[2]/Club[3]/Visit[1]"]],
        ),
        (
            {
                "for_each": "Pupil",
                "lookup": {"module": "Pupil", "as": "twin", "same": RETURN, "where": "twin.Coach = Pupil.Number"},
                "fails_when": "twin._row IS NULL",
            },
            [["Pupil[1]"], ["Pupil[2]"]],
        ),
        (
            {
                "for_each": "Pupil",
                "lookup": {"module": "Club", "as": "first", "where": "first.End IS NULL"},
                "fails_when": "first.Kind = 'SPT'",
                "point_at": ["first.Kind"],
            },
            [["Pupil[2]/Club[2]"]],
        ),
        (
            {"for_each": "Pupil", "measures": {"over": "Visit", "each": "Pupil",
             "values": {"n": "count(*)"}}, "fails_when": "n = 0"},
            [["Pupil[1]"]],
        ),
        (
            {
                "for_each": "Club",
                "measures": [
                    {"over": "Visit", "each": "Club", "values": {"n": "count(*)", "last_visit": "max(Visit)"}},
                    {"over": "Club", "as": "art", "each": RETURN, "where": "Kind = 'ART'", "values": {"arts": "count(*)"}},
                ],
                "fails_when": "n = arts AND last_visit > Start",
            },
            [["Pupil[2]/Club[1]"]],
        ),
        (
            {
                "for_each": "Pupil",
                "measures": {"over": "Club", "as": "late", "each": "Pupil",
                 "where": "Start > $period_start + 15", "values": {"n": "count(*)"}},
                "fails_when": "n > 0",
                "point_at": ["Number", "late.Start"],
            },
            [["Pupil[2]", "Pupil[2]/Club[2]", "Pupil[2]/Club[3]"]],
        ),
        (
            {"measures": {"over": "Club", "values": {"kinds": "count(DISTINCT Kind)", "all": "count(*)"}},
             "fails_when": "kinds < all"},
            [[""]],
        ),
        ({"any_of": {"module": "Club", "where": "Kind = 'SPT'"}, "point_at": ["Club.Kind"]}, [["Pupil[2]/Club[2]"]]),
        ({"none_of": {"module": "Home", "where": "Town = 'Bath'"}}, [[""]]),
    ],
)  # fmt: skip
def test_a_shape_finds_its_rows(
    clubs: Clubs, judge: Judge, rule: dict[str, Any], expected: list[list[str]]
) -> None:
    report = judge(clubs.rules(rule), PUPILS)
    assert places(report) == expected
    assert report.outcomes["1"] == ("failed" if expected else "passed")


@pytest.mark.parametrize("rule", ["local", "whole"])
def test_a_rule_judges_one_record_as_it_judges_all(clubs: Clubs, rule: str) -> None:
    """The statement for one record, used after an edit, and the one for the return agree."""
    shapes = {
        "local": {"for_each": "Club", "pair_with": {"module": "Club", "as": "o", "same": "Pupil"},
         "fails_when": "Start = o.Start"},
        "whole": {"for_each": "Club", "unique": {"items": ["Kind"]}},
    }  # fmt: skip
    compiled = Engine(clubs.rules(shapes[rule])).compiled["1"]
    assert bool(compiled.sql_for_record) == (rule == "local")


def test_messages_carry_values_blanks_figures_and_parameters(clubs: Clubs, judge: Judge) -> None:
    rule = {
        "for_each": "Club",
        "with": ["Pupil", "Home"],
        "measures": {"over": "Visit", "each": "Club", "values": {"visits": "count(*)"}},
        "fails_when": "End < Start",
        "message": "{Pupil.Number} of {Home.Town}: {End} before {Start}, {visits} visits, of {$year} to {$reference_date}.",
        "point_at": ["End", "Home.Town"],
    }
    (finding,) = [one for one in judge(clubs.rules(rule), PUPILS).findings if one.rule == "1"]
    assert finding.message == "A2 of (blank): 2025-09-01 before 2025-09-10, 2 visits, of 2026 to 2026-01-15."
    first, second = finding.locations
    assert (first.module, first.item, first.path, first.row, first.value) == (
        "Club", "End", "Pupil[2]/Club[1]", 2, "2025-09-01",
    )  # fmt: skip
    # There is no Home: the club stands for it.
    assert (second.module, second.item, second.path, second.row) == ("Home", "Town", "Pupil[2]/Club[1]", None)


class TestLastReturn:
    RULE: ClassVar = {
        "for_each": "Pupil",
        "none_of": {"module": "last_return.Pupil", "where": "last.Number = Pupil.Number"},
        "fails_when": "Number IS NOT NULL",
    }

    def test_rows_are_compared_with_the_previous_return(self, clubs: Clubs, judge: Judge) -> None:
        last = {"Pupil": [{"Number": "A2"}, {"Number": "A9"}]}
        assert places(judge(clubs.rules(self.RULE), PUPILS, last)) == [["Pupil[1]"]]

    def test_without_it_the_rule_is_not_checked(self, clubs: Clubs, judge: Judge) -> None:
        report = judge(clubs.rules(self.RULE), PUPILS)
        assert report.outcomes["1"] == "not_checked"
        assert report.reasons == {"1": "there is no previous return to compare with"}

    def test_or_judged_as_if_it_had_been_empty(self, clubs: Clubs, judge: Judge) -> None:
        report = judge(clubs.rules({**self.RULE, "when_no_last_return": "empty"}), PUPILS)
        assert places(report) == [["Pupil[1]"], ["Pupil[2]"]]

    def test_counts_of_it_are_figures(self, clubs: Clubs, judge: Judge) -> None:
        rule = {
            "measures": [
                {"over": "Pupil", "values": {"now": "count(*)"}},
                {"over": "last_return.Pupil", "values": {"before": "count(*)"}},
            ],
            "fails_when": "now < before",
            "message": "{now} after {before}.",
        }
        (finding,) = [
            one
            for one in judge(clubs.rules(rule), PUPILS, {"Pupil": [{}, {}, {}]}).findings
            if one.rule == "1"
        ]
        assert finding.message == "2 after 3."


class TestUnreadable:
    """A value that is none of its type is one finding, and no rule makes a second one of it."""

    CONTENT: ClassVar = {
        "Pupil": {"Club": [{"Start": "31/12/2025", "End": "2025-12-01"}, {"Start": "2025-12-01"}]}
    }
    BLANK: ClassVar = {"for_each": "Club", "fails_when": "Start IS NULL"}

    def test_the_rule_leaves_the_row_alone_and_is_not_checked(self, clubs: Clubs, judge: Judge) -> None:
        report = judge(clubs.rules(self.BLANK), self.CONTENT)
        assert [(one.rule, one.locations[0].value) for one in report.findings] == [("type", "31/12/2025")]
        assert report.outcomes["1"] == "not_checked"
        assert report.reasons["1"].startswith("1 value it reads cannot be read")

    def test_it_still_fails_for_other_rows(self, clubs: Clubs, judge: Judge) -> None:
        content = {"Pupil": {"Club": [{"Start": "31/12/2025"}, {"End": "2025-12-01"}]}}
        report = judge(clubs.rules(self.BLANK), content)
        assert places(report) == [["Pupil[1]/Club[2]"]]
        assert report.outcomes["1"] == "failed"

    def test_a_row_that_may_be_the_one_wanted_counts_as_there(self, clubs: Clubs, judge: Judge) -> None:
        rule = {"for_each": "Pupil", "none_of": {"module": "Club", "where": "Start > DATE '2025-01-01'"}}
        assert places(judge(clubs.rules(rule), {"Pupil": {"Club": {"Start": "x"}}})) == []

    def test_the_text_as_written_can_always_be_asked(self, clubs: Clubs, judge: Judge) -> None:
        rule = {
            "for_each": "Club",
            "fails_when": "is_given(Start) AND raw(Start) LIKE '%/%' AND NOT is_blank(Start)",
        }
        assert places(judge(clubs.rules(rule), self.CONTENT)) == [["Pupil[1]/Club[1]"]]

    def test_a_rule_may_make_the_check_in_place_of_the_built_in_one(self, clubs: Clubs, judge: Judge) -> None:
        clubs.cover((clubs.own / "collection.yaml").read_text().replace(
            "{name: Start, type: date}", "{name: Start, type: date, checked_by: {type: '1'}}"))  # fmt: skip
        report = judge(
            clubs.rules({"for_each": "Club", "fails_when": "Start IS NULL AND is_given(Start)"}), self.CONTENT
        )
        assert [one.rule for one in report.findings] == ["1"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("is_true(Coach)", {"1", "true", "TRUE", "Y", "yes"}),
        ("is_false(Coach)", {"0", "false", "N", "no"}),
        ("is_not_true(Coach)", {"0", "false", "N", "no", "maybe", ""}),
    ],
)
def test_booleans_are_asked_by_their_text(
    clubs: Clubs, judge: Judge, condition: str, holds: set[str]
) -> None:
    spellings = ["1", "true", "TRUE", "Y", "yes", "0", "false", "N", "no", "maybe", ""]
    content = {"Pupil": [{"Coach": spelling or None} for spelling in spellings]}
    report = judge(clubs.rules({"for_each": "Pupil", "fails_when": condition}), content)
    found = {spellings[int(path[6:-1]) - 1] for (path,) in places(report)}
    assert found == holds


@pytest.mark.parametrize(
    ("condition", "fails"),
    [
        ("Kind IN codeset('club_kind')", ["ART", "NEW"]),
        ("Kind NOT IN codeset('club_kind')", ["OLD", "XXX"]),
        ("Kind IN codeset('club_kind', Start)", ["ART", "OLD"]),
    ],
)
def test_codes_are_those_of_the_period_or_of_a_day(
    clubs: Clubs, judge: Judge, condition: str, fails: list[str]
) -> None:
    kinds = ["ART", "OLD", "NEW", "XXX"]
    content = {"Pupil": {"Club": [{"Kind": kind, "Start": "2020-01-06"} for kind in kinds]}}
    report = judge(clubs.rules({"for_each": "Club", "fails_when": condition}), content)
    assert [kinds[int(path[-2]) - 1] for (path,) in places(report)] == fails


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        # Good Friday 3 April and Easter Monday 6 April 2026 are bank holidays.
        ("working_days_between(DATE '2026-04-02', DATE '2026-04-08')", 2),
        ("working_days_between(DATE '2026-04-08', DATE '2026-04-02')", -2),
        ("working_days_before(DATE '2026-04-07', 1)", date(2026, 4, 2)),
        ("working_days_before(DATE '2026-03-31', 45)", date(2026, 1, 27)),
        ("working_days_before(DATE '2026-03-31', 15)", date(2026, 3, 10)),
        ("working_days_after(DATE '2026-04-02', 2)", date(2026, 4, 8)),
        ("working_days_after(DATE '2026-04-04', 1)", date(2026, 4, 7)),
        ("is_weekend(DATE '2026-04-04')", True),
        ("is_weekend(DATE '2026-04-03')", False),
        ("is_working_day(DATE '2026-04-03')", False),
        ("age_on(DATE '2010-09-01', DATE '2026-08-31')", 15),
        ("age_on(DATE '2008-02-29', DATE '2026-02-28')", 17),
        ("age_on(DATE '2008-02-29', DATE '2026-03-01')", 18),
        ("months_between(DATE '2026-01-15', DATE '2026-03-14')", 1),
        ("upn_check_letter('X823432117001')", "C"),
        ("upn_check_letter('B82343211701A')", "B"),
        ("upn_check_letter('C82343211700O')", None),
        ("upn_check_letter('C8234321170')", None),
        ("uln_check_digit('1026893096')", 6),
        ("uln_check_digit('4477127820')", None),
        ("DATE '2026-03-31' - DATE '2026-03-01'", 30),
        ("matches('AB1', '[A-Z]+[0-9]')", True),
        ("matches('AB1x', '[A-Z]+[0-9]')", False),
    ],
)
def test_helpers_compute_what_they_say(clubs: Clubs, figure: str, expected: object) -> None:
    engine = Engine(clubs.rules({"for_each": "Pupil", "measures": {"over": "Club", "values": {"n": f"max({figure})"}},
                                 "fails_when": "TRUE"}))  # fmt: skip
    tables = Tables(engine.collection)
    tables.query('INSERT INTO main."Pupil" (_row, _person, _ordinal) VALUES (1, 1, 1)')
    tables.query('INSERT INTO main."Club" (_row, _parent, _person, _ordinal) VALUES (1, 1, 1, 1)')
    ((_, found),) = tables.query(engine.compiled["1"].sql)
    tables.close()
    assert found == expected


def test_a_rule_that_breaks_is_not_checked_and_quotes_no_value(clubs: Clubs, judge: Judge) -> None:
    """Text is turned into a number by adding to it, which DuckDB does until it meets a word."""
    rule = {"for_each": "Pupil", "fails_when": "Number + 1 > 2"}
    report = judge(
        clubs.rules(rule, {"code": "2", "for_each": "Pupil", "fails_when": "Number IS NULL"}), PUPILS
    )
    assert report.outcomes["1"] == "not_checked"
    assert report.outcomes["2"] == "passed"
    assert "broke" in report.reasons["1"]
    assert "A1" not in report.reasons["1"]


def test_a_condition_duckdb_refuses_is_told_before_any_return(clubs: Clubs) -> None:
    engine = Engine(clubs.rules({"for_each": "Club", "fails_when": "Start + End > 3"}))
    with pytest.raises(Problem) as caught:
        engine.prove()
    assert caught.value.code == "CR-184"
    assert caught.value.where == "rule 1"


def test_the_reference_date_may_come_from_the_file(clubs: Clubs, judge: Judge) -> None:
    text = (clubs.own / "collection.yaml").read_text()
    text = text.replace("period:", "reference_date_from: Header.Day\nperiod:").replace(
        "      - {name: Year, path", "      - {name: Day, type: date}\n      - {name: Year, path"
    )
    clubs.cover(text)
    rule = {
        "for_each": "Pupil",
        "fails_when": "TRUE",
        "message": "{$reference_date} {$period_start} {$period_end}",
    }
    collection = clubs.rules(rule)
    for day, expected in (
        ("2024-01-15", "2024-01-15 2023-09-01 2024-07-31"),
        ("2024-01-18", "2024-01-18 2023-09-04 2024-08-03"),
        ("no day", "2026-01-15 2025-09-01 2026-07-31"),
        (None, "2026-01-15 2025-09-01 2026-07-31"),
    ):
        report = judge(collection, {"Header": {"Day": day}, "Pupil": {}})
        assert [one.message for one in report.findings if one.rule == "1"] == [expected]
