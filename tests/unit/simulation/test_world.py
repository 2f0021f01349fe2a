"""Days pass: always in the same way for the same seed, once for each school, whatever is killed in between."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from commonroom.problems import Problem
from commonroom.simulation import (
    World,
    build,
    last_day,
    next_school_day,
    pass_day,
    school_database,
    schools_of_county,
)
from commonroom.standard import identifiers
from tests.waiting import until

FIRST = date(2026, 9, 2)
PUPILS = 900

RUN = f"""
import sys
from pathlib import Path
from commonroom.simulation import World, build, next_school_day, pass_day, schools_of_county
world, folder, day = World(int(sys.argv[2]), schools_of_county({PUPILS})), Path(sys.argv[1]), None
build(world, folder)
for _ in range(int(sys.argv[3])):
    day = next_school_day(world, day)
    pass_day(world, folder, day)
"""


def small_world(seed: int = 7) -> World:
    return World(seed, schools_of_county(PUPILS))


def lead(world: World, folder: Path, days: int) -> date:
    build(world, folder)
    day: date | None = None
    for _ in range(days):
        day = next_school_day(world, day)
        pass_day(world, folder, day)
    assert day is not None
    return day


def content(folder: Path) -> dict[str, str]:
    """A digest of all that stands in each database."""
    digests = {}
    for path in sorted(folder.glob("*.db")):
        with closing(sqlite3.connect(path)) as connection:
            digests[path.name] = hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()
    return digests


def in_another_process(folder: Path, seed: int, days: int) -> subprocess.Popen[bytes]:
    # Another hash seed: nothing may hang on the order of a set.
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(seed), str(days)], env=environment)


def test_the_same_seed_gives_the_same_databases_in_any_process(tmp_path: Path) -> None:
    lead(small_world(), tmp_path / "here", 4)
    assert in_another_process(tmp_path / "there", 7, 4).wait(60) == 0
    assert content(tmp_path / "here") == content(tmp_path / "there")


def test_another_seed_gives_another_county(tmp_path: Path) -> None:
    lead(small_world(), tmp_path / "one", 1)
    lead(small_world(8), tmp_path / "other", 1)
    one, other = content(tmp_path / "one"), content(tmp_path / "other")
    assert all(one[name] != other[name] for name in one if not name.startswith("la-"))


def test_a_day_that_passed_is_not_entered_again(tmp_path: Path) -> None:
    world = small_world()
    day = lead(world, tmp_path, 3)
    before = content(tmp_path)
    report = pass_day(world, tmp_path, day)
    assert (report.entered, report.schools) == (0, len(world.schools))
    assert content(tmp_path) == before
    assert last_day(world, tmp_path) == day


def test_a_world_that_is_opened_again_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    lead(small_world(), tmp_path / "whole", 5)
    stopped = lead(small_world(), tmp_path / "halves", 2)
    again = small_world()
    for _ in range(3):
        stopped = next_school_day(again, stopped)
        pass_day(again, tmp_path / "halves", stopped)
    assert content(tmp_path / "whole") == content(tmp_path / "halves")


@pytest.mark.parametrize("schools_done", [1, 11, 26])
def test_a_day_broken_off_by_kill_9_can_be_passed_again(tmp_path: Path, schools_done: int) -> None:
    lead(small_world(), tmp_path / "whole", 30)
    broken = tmp_path / "broken"
    world = small_world()
    path = school_database(broken, world.schools[schools_done].urn)
    process = in_another_process(broken, 7, 30)

    def second_day_is_in() -> bool:
        if not path.exists():
            return False
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM simulated_day").fetchone()[0]) >= 2

    until(second_day_is_in, 30)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    assert content(broken) != content(tmp_path / "whole")
    lead(world, broken, 30)
    assert content(broken) == content(tmp_path / "whole")


def test_days_pass_in_order_and_only_on_school_days(tmp_path: Path) -> None:
    world = small_world()
    build(world, tmp_path)
    with pytest.raises(Problem, match="2026-09-02 must pass before 2026-09-04"):
        pass_day(world, tmp_path, date(2026, 9, 4))
    with pytest.raises(Problem, match="not a school day"):
        pass_day(world, tmp_path, date(2026, 9, 5))
    pass_day(world, tmp_path, FIRST)
    assert next_school_day(world, date(2026, 9, 4)) == date(2026, 9, 7)
    assert next_school_day(world, date(2026, 10, 23)) == date(2026, 11, 2)


def test_a_folder_of_another_world_is_refused(tmp_path: Path) -> None:
    build(small_world(), tmp_path)
    with pytest.raises(Problem, match="another world"):
        build(small_world(8), tmp_path)


def test_every_pupil_has_a_valid_upn_of_their_own_and_is_on_one_roll() -> None:
    world = small_world()
    upns = [pupil.upn for school in world.schools for pupil in world.first_roll(school.urn)]
    assert len(upns) == len(set(upns)) == PUPILS
    assert all(identifiers.check("UPN", upn).verdict == "permanent" for upn in upns)


def test_who_moves_is_admitted_by_the_next_school_on_the_next_school_day() -> None:
    world = World(3, schools_of_county())
    days = world.school_days(date(2026, 9, 30))
    happened = [world.happenings(day) for day in days]
    moves = 0
    for today, tomorrow in pairwise(happened):
        for school in today.values():
            for leaver in school.left:
                if leaver.destination is None:
                    continue
                moves += 1
                admitted = {pupil.upn: pupil for pupil in tomorrow[leaver.destination].admitted}
                assert admitted[leaver.upn].entry_date == tomorrow[leaver.destination].day
                assert leaver.upn in {mark.upn for mark in school.marks}
                assert leaver.upn not in {mark.upn for mark in tomorrow[school.school].marks}
    assert moves >= 20


def test_marks_that_stood_as_unknown_are_put_right_within_days() -> None:
    world = World(3, schools_of_county())
    unknown: dict[tuple[str, str, str], str] = {}
    corrected = 0
    for day in world.school_days(date(2026, 9, 30)):
        for school in world.happenings(day).values():
            for mark in school.marks:
                for session, code in (("AM", mark.am), ("PM", mark.pm)):
                    if code == "N":
                        unknown[mark.upn, school.day, session] = school.school
            for correction in school.corrections:
                assert unknown.pop((correction.upn, correction.day, correction.session)) == school.school
                assert correction.code in {"I", "O"}
                assert day - date.fromisoformat(correction.day) <= timedelta(days=10)
                corrected += 1
    assert corrected > 1000


def test_attendance_looks_like_attendance() -> None:
    world = World(3, schools_of_county())
    sessions: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    possible: Counter[str] = Counter()
    for day in world.school_days(date(2026, 10, 23)):
        for school in world.happenings(day).values():
            for mark in school.marks:
                for code in (mark.am, mark.pm):
                    sessions[code] += 1
                    possible[mark.upn] += code != "X"
                    absent[mark.upn] += code in set("CEIMRSTGNOU") | {"C1", "J1"}
    share = sum(absent.values()) / sum(possible.values())
    assert 0.05 < share < 0.09, sessions
    # England had about a fifth of pupils missing a tenth of their sessions or more.
    persistent = sum(1 for upn, count in possible.items() if absent[upn] >= 0.1 * count) / len(possible)
    assert 0.10 < persistent < 0.30
    assert set(sessions) >= {"/", "\\", "L", "I", "N", "O", "G", "M", "X", "V"}


def test_a_tenth_of_the_registers_is_corrected_struck_out_or_late_and_follows_from_the_seed() -> None:
    days = [FIRST + timedelta(days=number) for number in (0, 1, 2, 5)]
    settled, unsettled, again = (World(7, schools_of_county(PUPILS), late=late) for late in (0, 10, 10))
    happened = [unsettled.happenings(day) for day in days]
    assert [again.happenings(day) for day in days] == happened
    marks = late = struck = corrected = 0
    for day, mine in zip(days, happened, strict=True):
        for urn, plain in settled.happenings(day).items():
            # Whatever becomes of it: each pupil's marks of a day are entered once, then or on the next school day.
            marks += len(plain.marks)
            late += len(mine[urn].late)
            struck += len(mine[urn].struck)
            corrected += len(mine[urn].corrections) - len(plain.corrections)
            assert {one.upn for one in mine[urn].marks} <= {one.upn for one in plain.marks}
    three_of_four = marks * 3 / 4  # what is touched of the last day is entered after it
    assert 0.08 < (late + struck + corrected) / three_of_four < 0.12
    assert min(late, struck, corrected) / three_of_four > 0.02


def test_what_is_struck_out_or_late_stands_in_the_schools_own_tables(tmp_path: Path) -> None:
    folders = tmp_path / "settled", tmp_path / "unsettled"
    for folder, late in zip(folders, (0, 50), strict=True):
        lead(World(7, schools_of_county(PUPILS), late=late), folder, 3)
    school = next(one for one in schools_of_county(PUPILS) if one.system == "tallybook")
    found = []
    for folder in folders:
        with closing(sqlite3.connect(school_database(folder, school.urn))) as connection:
            statement = "SELECT session_day, half, person_id, mark_code_id FROM session_mark"
            found.append({tuple(row[:3]): row[3] for row in connection.execute(statement)})
    whole, part = found
    assert set(part) < set(whole)
    newest = max(day for day, _, _ in whole)
    missing = [key for key in whole if key not in part and key[0] < newest]
    changed = [key for key in part if part[key] != whole[key]]
    assert missing, "nothing was struck out"
    assert changed, "nothing was corrected"
    assert len(missing) < len(whole) / 5, "what was late has not been entered"
