"""The life of a movement as tables that a data governance group can read: states, steps, who takes them, and votes."""

from __future__ import annotations

from datetime import date

import pytest

from commonroom.hub.frequency import Frequency, late_since
from commonroom.hub.group import Ballot, Rule, check_outcome, tally
from commonroom.hub.lifecycle import STEPS, WHO, check_role, check_step, standing
from commonroom.problems import Problem
from tests.specification.hub.test_schedule import _utc

# What can be done with a movement that stands so. (A proposal of a new movement needs an id that none has.)
STEPS_TABLE = """
              propose amend vote decide suspend resume withdraw
proposed      -       -     yes  -      -       -      yes
under review  -       -     yes  yes    -       -      yes
approved      -       yes   -    -      yes     -      yes
active        -       yes   -    -      yes     -      yes
suspended     -       yes   -    -      -       yes    yes
replaced      -       -     -    -      -       -      -
expired       -       yes   -    -      -       -      -
rejected      -       yes   -    -      -       -      -
withdrawn     -       yes   -    -      -       -      -
"""

# Further: an organisation amends what it sends or receives under; it and a member withdraw only what they proposed.
ROLES_TABLE = """
              propose amend vote decide suspend resume withdraw
operator      yes     yes   -    yes    yes     yes    yes
member        yes     yes   yes  yes    yes     yes    yes
organisation  yes     yes   -    -      -       -      yes
"""

STANDINGS_TABLE = """
state        | from       | to         | next from  | suspended | on         | stands as
proposed     | 2026-09-01 | -          | -          | -         | 2026-10-01 | proposed
under review | 2026-09-01 | -          | -          | -         | 2026-10-01 | under review
rejected     | 2026-09-01 | -          | -          | -         | 2026-10-01 | rejected
withdrawn    | 2026-09-01 | -          | -          | -         | 2026-10-01 | withdrawn
approved     | 2026-09-01 | -          | -          | -         | 2026-08-31 | approved
approved     | 2026-09-01 | -          | -          | -         | 2026-09-01 | active
approved     | 2026-09-01 | 2026-12-31 | -          | -         | 2026-12-31 | active
approved     | 2026-09-01 | 2026-12-31 | -          | -         | 2027-01-01 | expired
approved     | 2026-09-01 | -          | 2026-11-01 | -         | 2026-10-31 | active
approved     | 2026-09-01 | -          | 2026-11-01 | -         | 2026-11-01 | replaced
approved     | 2026-09-01 | 2026-12-31 | 2026-11-01 | -         | 2027-01-01 | replaced
approved     | 2026-09-01 | -          | -          | yes       | 2026-10-01 | suspended
approved     | 2026-09-01 | 2026-12-31 | -          | yes       | 2027-01-01 | expired
proposed     | 2026-09-01 | -          | -          | yes       | 2026-10-01 | proposed
"""

# F, A, N: for, against, abstain; with `!` the vote of a front-line member, with `p` of the proposer.
# Rule: 3 votes, 1 of the front line.
VOTES_TABLE = """
majority       | votes         | approve | reject
more than half | F F F!        | yes     | no
more than half | F F! A        | yes     | no
more than half | F! A A        | no      | yes
more than half | F F! A A      | no      | yes
more than half | F F!          | no      | no
more than half | F F F         | no      | no
more than half | F F N!        | yes     | no
more than half | N N N!        | no      | yes
more than half | Fp! N N       | no      | no
more than half | Fp F! N       | yes     | no
two thirds     | F F! A        | yes     | no
two thirds     | F F! A A      | no      | yes
two thirds     | F F! F A A    | no      | yes
all            | F F! F        | yes     | no
all            | F F! F A      | no      | yes
all            | F F! N        | yes     | no
more than half |               | no      | no
"""


def _grid(table: str) -> list[tuple[str, str, bool]]:
    head, *rows = table.strip("\n").splitlines()
    columns = head.split()
    return [
        (row[:14].strip(), column, cell == "yes")
        for row in rows
        for column, cell in zip(columns, row[14:].split(), strict=True)
    ]


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()[1:]]


@pytest.mark.parametrize(("now", "step", "allowed"), _grid(STEPS_TABLE))
def test_a_movement_takes_only_the_steps_its_standing_allows(now: str, step: str, allowed: bool) -> None:
    if allowed:
        check_step(step, now, "meals")  # type: ignore[arg-type]
        return
    with pytest.raises(Problem) as caught:
        check_step(step, now, "meals")  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.status) == ("CR-141", 409)
    assert caught.value.remedy


@pytest.mark.parametrize(("role", "step", "allowed"), _grid(ROLES_TABLE))
def test_each_step_is_for_those_whom_the_table_names(role: str, step: str, allowed: bool) -> None:
    if allowed:
        check_role(step, role)  # type: ignore[arg-type]
        return
    with pytest.raises(Problem) as caught:
        check_role(step, role)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.status) == ("CR-143", 403)


def test_the_tables_leave_no_step_out() -> None:
    assert {step for _, step, _ in _grid(STEPS_TABLE)} == set(STEPS) == set(WHO)


@pytest.mark.parametrize("row", _rows(STANDINGS_TABLE), ids=" ".join)
def test_how_a_version_stands_follows_from_its_state_and_its_days(row: list[str]) -> None:
    state, first, last, later, suspended, on, expected = row
    found = standing(
        state,  # type: ignore[arg-type]
        date.fromisoformat(first),
        None if last == "-" else date.fromisoformat(last),
        on=date.fromisoformat(on),
        replaced_from=None if later == "-" else date.fromisoformat(later),
        suspended=suspended == "yes",
    )
    assert found == expected


@pytest.mark.parametrize("row", _rows(VOTES_TABLE), ids=" ".join)
def test_only_what_the_votes_say_can_be_decided(row: list[str]) -> None:
    majority, votes, approve, reject = row
    names = {"F": "for", "A": "against", "N": "abstain"}
    ballots = [
        Ballot(vote=names[vote[0]], front_line="!" in vote, of_proposer="p" in vote)  # type: ignore[arg-type]
        for vote in votes.split()
    ]
    found = tally(Rule(quorum=3, front_line_votes=1, majority=majority), ballots)  # type: ignore[arg-type]
    assert [_allowed(found, "approved"), _allowed(found, "rejected")] == [approve, reject]


def _allowed(found: object, outcome: str) -> str:
    try:
        check_outcome(found, outcome, "meals")  # type: ignore[arg-type]
    except Problem as problem:
        return "no" if (problem.code, problem.status) == ("CR-142", 409) else problem.code
    return "yes"


LATENESS = """
how                        | min | now              | waiting since    | last sent        | late since
on_change                  | 60  | 2026-10-05 12:00 | 2026-10-05 10:30 | -                | 2026-10-05 11:30
on_change                  | 60  | 2026-10-05 12:00 | 2026-10-05 11:30 | -                | -
on_change                  | -   | 2026-10-05 12:00 | 2026-10-01 11:30 | -                | -
pull                       | 60  | 2026-10-05 12:00 | -                | -                | -
scheduled 0 6 * * mon-fri  | 60  | 2026-10-05 07:00 | -                | 2026-10-02 05:10 | 2026-10-05 06:00
scheduled 0 6 * * mon-fri  | 60  | 2026-10-05 07:00 | -                | 2026-10-05 05:10 | -
scheduled 0 6 * * mon-fri  | 60  | 2026-10-05 05:30 | -                | 2026-10-02 05:10 | -
scheduled 0 6 * * mon-fri  | 60  | 2026-10-26 07:30 | -                | 2026-10-23 05:10 | 2026-10-26 07:00
"""


@pytest.mark.parametrize("row", _rows(LATENESS), ids=" ".join)
def test_a_movement_is_late_by_what_was_agreed_and_never_otherwise(row: list[str]) -> None:
    how, grace, now, waiting, sent, expected = row
    name, _, cron = how.partition(" ")
    frequency = Frequency(
        how=name,  # type: ignore[arg-type]
        cron=cron or None,
        lateness_after=None if grace == "-" else int(grace),
    )
    found = late_since(
        frequency,
        _utc(now),
        oldest_waiting=None if waiting == "-" else _utc(waiting),
        last_sent=None if sent == "-" else _utc(sent),
    )
    assert found == (None if expected == "-" else _utc(expected))


@pytest.mark.parametrize(
    ("frequency", "words"),
    [
        (Frequency(how="on_change"), "on change"),
        (Frequency(how="pull", lateness_after=90), "when the recipient asks, late after 90 minutes"),
        (
            Frequency(how="scheduled", cron="0 6 * * *", calendar="school days", lateness_after=1440),
            "at 0 6 * * * on school days, late after 1 day",
        ),
    ],
)
def test_a_frequency_reads_as_words(frequency: Frequency, words: str) -> None:
    assert str(frequency) == words


@pytest.mark.parametrize(
    "values",
    [
        {"how": "scheduled"},
        {"how": "pull", "cron": "0 6 * * *"},
        {"how": "on_change", "calendar": "school days"},
        {"how": "scheduled", "cron": "at six"},
    ],
)
def test_a_frequency_that_contradicts_itself_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Frequency(**values)  # type: ignore[arg-type]
