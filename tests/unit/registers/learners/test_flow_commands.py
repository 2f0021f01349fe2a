"""`commonroom learners numbers`: the list of one school on the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commonroom.engines.database import connect
from commonroom.hub import Alias, Party, publish
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.registers.learners.commands import app
from commonroom.settings import Settings

SCHOOL, OTHER = "990001", "990002"
PUPIL = """
INSERT INTO learners.pupil (school, upn, party, details, uln, since) VALUES ($1, $2, $3, $4, $5, '2026-09-01')
"""


def run(*words: Any) -> str:
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


async def two_schools(settings: Settings) -> None:
    """Each has one pupil with a number; a family name that a spreadsheet would reckon with."""
    conn = await connect(settings)
    try:
        for urn, upn, uln in ((SCHOOL, "A1", "1000000001"), (OTHER, "B1", "1000000002")):
            party = org_urn(uuid7())
            await publish(conn, [Party(party, urn, ("school",))], [Alias(alias_urn("urn", urn), party)], [])
            await conn.execute(
                PUPIL,
                urn, upn, party, {"given_name": "Ada", "family_name": "=Lane"}, uln,
            )  # fmt: skip
    finally:
        await conn.close()


def test_the_list_of_one_school(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    monkeypatch.setenv("COMMONROOM_DATA", str(tmp_path / "data"))
    asyncio.run(two_schools(settings))
    lines = run("numbers", "--school", SCHOOL).splitlines()
    assert lines == ["UPN,FamilyName,GivenName,ULN,Since,State", "A1,'=Lane,Ada,1000000001,2026-09-01,given"]
    (one,) = json.loads(run("numbers", "--school", OTHER, "--format", "json"))
    assert (one["upn"], one["uln"], one["family_name"]) == ("B1", "1000000002", "=Lane")
    out = tmp_path / "list.csv"
    assert run("numbers", "--school", SCHOOL, "--out", out) == ""
    assert out.read_text().splitlines() == lines
    assert out.stat().st_mode & 0o077 == 0
