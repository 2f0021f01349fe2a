"""`commonroom returns` as an operator uses it, from opening a collection to the frozen return."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from commonroom.engines.database import connect
from commonroom.problems import Problem
from commonroom.returns.commands import app
from commonroom.settings import Settings
from tests.returns_world import COLLECTIONS, UPNS, file, pupil, small_county


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("COMMONROOM_COLLECTIONS", str(COLLECTIONS))
    monkeypatch.setenv("COMMONROOM_DATABASE", settings.database or "")
    monkeypatch.setenv("COMMONROOM_DATA", str(settings.data))

    async def publish() -> None:
        connection = await connect(settings)
        await small_county(connection)
        await connection.close()

    asyncio.run(publish())
    return CliRunner()


def test_from_open_to_frozen(run: CliRunner, tmp_path: Path) -> None:
    def say(words: str, *more: str, status: int = 0) -> str:
        done = run.invoke(app, [*words.split(), *more])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == status, done.output
        return done.output

    assert "4 returns opened" in say("open roll 2026")
    say("mandate give --as 990001 --to 823 --collection roll", "--reason", "Our server is down.")
    (given,) = msgspec.json.decode(say("mandate list --as 823 --json"))
    assert (given["collection"], given["to_day"], given["reason"]) == ("roll", None, "Our server is down.")
    assert "1 ended" in say("mandate end --as 990001 --to 823 --collection roll")
    assert "Our server is down." in say("mandate list")
    assert say("list roll 2026").count("No data") == 4
    path = file(tmp_path, pupil(UPNS[0], born="1990-01-01"), pupil(UPNS[1], leaves="2025-09-01"))
    upload = f"upload {path} --collection roll --year 2026 --as 990001"
    assert "1 errors; queries: 1 open" in say(upload, status=1)
    file(tmp_path, pupil(UPNS[0], born="1990-01-01"), pupil(UPNS[1]))
    assert "0 errors; queries: 1 open" in say(upload)
    assert "1 finding answered" in say("note roll 2026 --as 990001 --rule 2Q", "--text", "A mature pupil.")
    (found,) = msgspec.json.decode(say("findings roll 2026 --as 990001 --json"))
    assert found["note"] == "A mature pupil."
    assert "Submitted" in say("submit roll 2026 --as 990001")
    with pytest.raises(Problem) as strange:
        say("approve roll 2026 --as 825 --of 990001")
    assert strange.value.code == "CR-196"
    assert "Rejected by approver" in say("reject roll 2026 --as 823 --of 990001", "--reason", "Look again.")
    assert "Submitted" in say("submit roll 2026 --as 823 --of 990001")
    assert "Approved" in say("approve roll 2026 --as 823 --of 990001")
    assert "Authorised" in say("authorise roll 2026 --of 990001")
    assert "is what was authorised" in say("prove roll 2026 --of 990001")
    with pytest.raises(Problem) as of_a_file:
        say("prove roll 2026 --of 990001 --again")
    assert of_a_file.value.code == "CR-208"
    history = msgspec.json.decode(say("history roll 2026 --as 990001 --json"))
    assert [one["step"] for one in history["steps"]] == [
        "load", "load", "submit", "reject", "submit", "approve", "authorise",
    ]  # fmt: skip
    assert "Look again." in say("history roll 2026 --as 990001")
