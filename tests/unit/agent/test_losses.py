"""A school system that suddenly shows little or nothing: nothing is withdrawn until somebody says that it is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from commonroom.agent import outbox, recall
from commonroom.agent.commands import app
from tests.unit.agent.school_system import MAPPING, SchoolSystem, told, upn

WINDOWED = MAPPING.replace(
    "query: SELECT :school AS school, upn, day AS date, half AS session, code FROM mark",
    "window_days: 14\n    query: SELECT :school AS school, upn, day AS date, half AS session, code"
    " FROM mark WHERE day >= :window_start",
)


def confirm(school: SchoolSystem) -> str:
    """What the command says that confirms withdrawals."""
    done = CliRunner().invoke(app, ["look", str(school.config_file), "--accept-withdrawals"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("pupils", "left"), [(3, 0), (100, 49), (100, 0)], ids=["few, all", "many, more than half", "many, all"]
)
def test_what_vanishes_at_once_is_withdrawn_only_when_somebody_confirms_it(
    tmp_path: Path, pupils: int, left: int
) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", *range(pupils))
    school.look()
    school.do("DELETE FROM mark WHERE rowid > ?", [(left,)])
    for _ in range(2):
        outcome = school.look()
        assert (outcome.letters, outcome.held_back) == ([], {"attendance_mark": pupils - left})
        (finding,) = recall.findings(school.memory())
        assert (finding.rule, finding.entity) == ("withdrawals-held", "attendance_mark")
        assert f"commonroom agent look {school.config_file} --accept-withdrawals" in finding.remedy
    assert f"attendance_mark: the agent's next look withdraws {pupils - left} records" in confirm(school)
    _, gone = told(school.look())
    assert len(gone) == pupils - left
    assert recall.findings(school.memory()) == []
    assert school.look().letters == []


@pytest.mark.parametrize(("pupils", "left"), [(40, 1), (100, 50)], ids=["fewer than fifty", "half"])
def test_an_ordinary_loss_is_withdrawn_without_a_question(tmp_path: Path, pupils: int, left: int) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", *range(pupils))
    school.look()
    school.do("DELETE FROM mark WHERE rowid > ?", [(left,)])
    assert len(told(school.look())[1]) == pupils - left


def test_a_table_that_comes_back_sends_nothing_and_the_finding_goes(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(*range(1, 61))
    school.look()
    school.do("ALTER TABLE pupil RENAME TO kept")
    school.do("CREATE TABLE pupil AS SELECT * FROM kept WHERE false")
    assert school.look().letters == []
    school.do("DROP TABLE pupil")
    school.do("ALTER TABLE kept RENAME TO pupil")
    assert school.look().letters == []
    assert recall.findings(school.memory()) == []


def test_what_is_new_goes_on_while_withdrawals_are_held_back(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", *range(100))
    school.look()
    school.do("DELETE FROM mark")
    school.add_marks("2025-09-03", "/", 1)
    assert told(school.look()) == ([("attendance_mark", upn(1), "2025-09-03", 1)], [])


def test_a_confirmation_is_good_for_no_more_than_was_shown(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", *range(100))
    school.look()
    school.do("DELETE FROM mark WHERE rowid > 40")
    school.look()
    confirm(school)
    school.do("DELETE FROM mark")
    assert school.look().letters == []


def test_a_running_agent_hears_of_the_confirmation_though_nothing_else_changed(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", 1)
    looker, memory = school.looker(), school.memory()
    looker.look(memory)
    school.do("DELETE FROM mark")
    assert looker.look(memory).letters == []
    assert looker.look(memory).skipped
    confirm(school)
    assert told(looker.look(memory))[1] == [("attendance_mark", upn(1), "2025-09-02", 2)]
    looker.close()


def test_a_purge_before_the_window_stays_a_finding_between_full_looks(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path, WINDOWED)
    school.add_marks("2025-01-07", "/", *range(100))
    school.add_marks("2025-09-02", "/", 1)
    school.look()
    school.do("DELETE FROM mark WHERE day < '2025-09-01'")
    school.add_marks("2025-09-03", "/", 1)
    assert not school.look().full
    # The source has reached a new day, so the next look is a full one.
    for code in ("I", "M"):
        assert told(school.look())[1] == []
        assert [finding.rule for finding in recall.findings(school.memory())] == ["withdrawals-held"]
        school.do("UPDATE mark SET code = ?", [(code,)])


def test_a_look_that_only_tries_confirms_nothing(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", 1)
    school.look()
    school.do("DELETE FROM mark")
    done = CliRunner().invoke(app, ["look", str(school.config_file)])
    assert "1 of 1 records vanished at once" in done.output
    assert school.look().letters == []
    assert outbox.counts(school.memory()) == {"waiting": 1, "refused": 0}
