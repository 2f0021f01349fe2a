"""Around the workflow: comparison with the last return, duplicates, an authority's own rules, reminders, sweeping, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from commonroom import returns
from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.returns import comparison, content, desk, local_rules, reminders, store
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Asked
from commonroom.settings import Settings
from tests.returns_world import COLLECTIONS, COLLECTOR, ROLL, UPNS, YEAR, County, file, pupil, small_county

RULES = """
rules:
  - code: no-girls
    severity: error
    title: We have no girls' places
    for_each: Pupil
    fails_when: Sex = 'F'
    point_at: [Sex]
    message: "The sex is {Sex}."
    examples:
      - {fails: true, Pupil: {Sex: F}}
      - {fails: false, Pupil: {Sex: M}}
      - {fails: false, Pupil: {}}
"""


@pytest.fixture
async def connection(pool: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("COMMONROOM_COLLECTIONS", str(COLLECTIONS))
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
async def county(connection: Any) -> County:
    county = await small_county(connection)
    await returns.open_collection(connection, ROLL, YEAR)
    return county


async def _load(
    settings: Settings, connection: Any, party: str, path: Path, year: int = YEAR
) -> store.Return:
    found = await store.one(connection, ROLL, year, party)
    return await returns.upload(settings, connection, Actor(who="somebody", party=party), found, path)


async def test_a_return_beside_the_last_one(
    settings: Settings, connection: Any, county: County, tmp_path: Path
) -> None:
    await returns.open_collection(connection, ROLL, 2025)
    found = await store.one(connection, ROLL, YEAR, county.school)
    with pytest.raises(Problem) as nothing:
        await comparison.with_last(connection, found)
    assert nothing.value.code == "CR-196"
    await _load(
        settings,
        connection,
        county.school,
        file(tmp_path, pupil(UPNS[0], born="1990-01-01"), year=2025),
        2025,
    )
    done = await _load(settings, connection, county.school, file(tmp_path, pupil(UPNS[0]), pupil(UPNS[1])))
    found_lines = await comparison.with_last(connection, done)
    assert (found_lines.last_year, found_lines.records.last, found_lines.records.now) == (2025, 1, 2)
    assert {one.name: (one.last, one.now) for one in found_lines.modules} == {
        "Header": (1, 1), "Pupil": (1, 2), "Stay": (1, 2),
    }  # fmt: skip
    assert {one.name: (one.last, one.now) for one in found_lines.rules} == {"2Q": (1, 0)}


async def test_pupils_whom_two_schools_claim(
    settings: Settings, connection: Any, county: County, tmp_path: Path
) -> None:
    await _load(
        settings, connection, county.school, file(tmp_path, pupil(UPNS[0]), pupil(UPNS[1]), pupil(UPNS[2]))
    )
    # The second school has one of them whole, one as a subsidiary, and says that one as a guest.
    second = file(
        tmp_path,
        pupil(UPNS[0], status="M"),
        pupil(UPNS[1], status="S"),
        pupil(UPNS[2], status="G"),
        urn="990002",
    )
    await _load(settings, connection, county.second, second)
    (found,) = await comparison.duplicates(settings, connection, ROLL, YEAR)
    assert found.upn == UPNS[0]
    assert set(found.parties) == {county.school, county.second}


async def test_an_authoritys_own_rules_run_for_its_schools_and_keep_nothing_from_the_collector(
    settings: Settings, connection: Any, county: County, tmp_path: Path
) -> None:
    rules = tmp_path / "ours.yaml"
    rules.write_text(RULES, "utf-8")
    assert await local_rules.add(settings, connection, county.authority, ROLL, YEAR, rules, "test") == 1
    done = await _load(settings, connection, county.school, file(tmp_path, pupil()))
    (finding,) = await store.findings(connection, done)
    assert (finding.rule, finding.local) == ("local:823:no-girls", county.authority)
    assert await store.checks(connection, done) == store.Checks(local_errors=1)
    # The school submits; its authority's approval is what the rule stands for.
    source, approver = Actor(who="s", party=county.school), Actor(who="a", party=county.authority)
    await returns.take(connection, settings, done, source, "submit")
    with pytest.raises(Problem) as refused:
        await returns.take(connection, settings, done, approver, "approve")
    assert refused.value.code == "CR-199"
    await returns.note(connection, done, approver, Asked(numbers=(1,)), ok=True)
    await returns.take(connection, settings, done, approver, "approve")
    await returns.take(connection, settings, done, COLLECTOR, "authorise")
    # Another authority's school is not judged by them.
    other = await _load(settings, connection, county.elsewhere, file(tmp_path, pupil(), urn="990004"))
    assert await store.checks(connection, other) == store.Checks()
    assert await local_rules.drop(connection, county.authority, ROLL, "ours")
    again = await _load(settings, connection, county.second, file(tmp_path, pupil(), urn="990002"))
    assert await store.findings(connection, again) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("Sex = 'F'", "Height > 2", "CR-182"),
        ("for_each: Pupil", "for_each: Person", "CR-180"),
        ("severity: error", "severity: fatal", "CR-001"),
        ("Sex = 'F'", "read_text('/etc/passwd') = 'F'", "CR-182"),
    ],
)
async def test_rules_that_are_not_right_are_refused_and_none_of_them_is_kept(
    settings: Settings, connection: Any, county: County, tmp_path: Path, old: str, new: str, code: str
) -> None:
    rules = tmp_path / "ours.yaml"
    rules.write_text(RULES.replace(old, new), "utf-8")
    with pytest.raises(Problem) as refused:
        await local_rules.add(settings, connection, county.authority, ROLL, YEAR, rules, "test")
    assert refused.value.code == code
    assert await connection.fetchval("SELECT count(*) FROM returns.local_rules") == 0


async def test_a_school_has_no_rules_of_its_own(
    settings: Settings, connection: Any, county: County, tmp_path: Path
) -> None:
    rules = tmp_path / "ours.yaml"
    rules.write_text(RULES, "utf-8")
    with pytest.raises(Problem) as refused:
        await local_rules.add(settings, connection, county.school, ROLL, YEAR, rules, "test")
    assert refused.value.code == "CR-204"


@pytest.mark.parametrize(
    ("today", "kind"),
    [
        ("2026-01-28", None), ("2026-01-29", "14 days before"), ("2026-02-10", "14 days before"),
        ("2026-02-11", "1 days before"), ("2026-02-12", "1 days before"), ("2026-02-13", "overdue"),
    ],
)  # fmt: skip
def test_which_reminder_is_due(today: str, kind: str | None) -> None:
    assert reminders.due(date(2026, 2, 12), (14, 1), date.fromisoformat(today)) == kind


async def test_each_reminder_is_noted_once_and_only_for_those_who_owe(
    settings: Settings, connection: Any, county: County, tmp_path: Path
) -> None:
    done = await _load(settings, connection, county.school, file(tmp_path, pupil()))
    await returns.take(connection, settings, done, Actor(who="s", party=county.school), "submit")
    await clock.set_to(connection, settings, datetime(2026, 1, 30, 12, tzinfo=UTC))
    assert await reminders.note(connection) == 3
    assert await reminders.note(connection) == 0
    await clock.set_to(connection, settings, datetime(2026, 2, 20, 12, tzinfo=UTC))
    assert await reminders.note(connection) == 3
    parties = await connection.fetch(
        "SELECT DISTINCT r.party FROM returns.reminder m JOIN returns.return r ON r.id = m.return"
    )
    assert {row["party"] for row in parties} == {county.second, county.academy, county.elsewhere}


UPLOAD = """
import asyncio, sys
from pathlib import Path
from commonroom import returns
from commonroom.engines import database
from commonroom.returns import checking, content, steps, store
from commonroom.returns.parties import Actor
from commonroom.settings import load

async def work(party, path, moment):
    def stop(*_, **__):
        print("here", flush=True)
        sys.stdin.read()
    if moment == "half written":
        content.files.sync = stop
    if moment == "kept":
        keep = content.keep
        def kept(*given):
            keep(*given)
            stop()
        content.keep = kept
    if moment == "in the transaction":
        async def take(*_):
            await asyncio.to_thread(stop)
        steps._take = take
    settings = load(Path(sys.argv[1]))
    connection = await database.connect(settings)
    found = await store.one(connection, "roll", 2026, party)
    await returns.upload(settings, connection, Actor(who="s", party=party), found, Path(path))

asyncio.run(work(*sys.argv[2:5]))
"""


def _killed_there(command: list[str], environment: dict[str, str]) -> None:
    """Run the upload until it says that it is there, then kill it."""
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("moment", ["half written", "kept", "in the transaction"])
async def test_an_upload_that_is_killed_leaves_nothing_of_itself(
    settings: Settings, connection: Any, county: County, tmp_path: Path, moment: str
) -> None:
    """kill -9 at three moments: the return is as it was, the next upload goes through, and what lies about is swept."""
    path = file(tmp_path, pupil(UPNS[0], born="1990-01-01"))
    environment = {**os.environ, "COMMONROOM_DATABASE": settings.database or ""}
    command = [sys.executable, "-c", UPLOAD, str(settings.data), county.school, str(path), moment]
    _killed_there(command, environment)
    found = await store.one(connection, ROLL, YEAR, county.school)
    assert (found.state, found.version, found.revision) == ("no_data", None, 1)
    for table in ("version", "finding", "step"):
        assert await connection.fetchval(f"SELECT count(*) FROM returns.{table}") == 0, table
    await _load(settings, connection, county.school, file(tmp_path, pupil(UPNS[1])))
    kept = {row["content"] for row in await connection.fetch("SELECT content FROM returns.version")}
    await desk.sweep(settings, connection)
    assert len(list(settings.folder(content.FOLDER).iterdir())) == 2
    assert content.sweep(settings, kept, time.time() + 1) == 1
    assert {one.name for one in settings.folder(content.FOLDER).iterdir()} == kept
