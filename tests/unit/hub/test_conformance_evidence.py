"""Evidence from a conformance run: recorded for the end point whose key was examined, and for no other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from commonroom.exchange import keys
from commonroom.exchange.conformance import Check, Result
from commonroom.hub import assurance, assurance_commands
from commonroom.hub.conformance import HOLDS_DAYS, record_run, trusted_key
from commonroom.problems import Problem
from commonroom.sandbox import evidence
from commonroom.settings import Settings
from tests.hub_server import SCHOOL_ALIAS
from tests.unit.hub.conftest import Town

NOW = datetime.now(UTC)


class Desk(msgspec.Struct, frozen=True):
    """The operator's desk: a town, a sandbox in a folder of its own, and what it found of the school's end point."""

    town: Town
    sandbox: Settings
    result: Result

    def file(self, **changes: Any) -> Path:
        """The run's signed file, of this result with some of it changed."""
        path = self.town.folder / "result.json"
        evidence.write(self.sandbox, msgspec.structs.replace(self.result, **changes), path)
        return path

    @property
    def key(self) -> Path:
        """The sandbox's key."""
        return self.sandbox.folder("keys") / evidence.KEY_FILE

    async def record(self, file: Path, **more: Any) -> str:
        """Take the file to the hub's operator."""
        town = self.town
        async with town.pool.acquire() as connection:
            return await record_run(
                connection,
                more.pop("party", town.county.school),
                "confidential",
                file,
                trusted_key(town.settings, self.key),
                by="ada",
                **more,
            )

    async def recorded(self) -> list[assurance.Evidence]:
        """What is on record from runs."""
        async with self.town.pool.acquire() as connection:
            return [one for one in await assurance.list_evidence(connection) if one.kind == "conformance run"]


@pytest.fixture
async def desk(town: Town) -> Desk:
    own = (await town.school.keys_of(town.county.school)).keys
    kids = tuple(key.kid for key in own if key.end_point == town.school.end_point)
    result = Result("urn:p", "e", "MIS 7", (Check("enrolled", True, "yes", 0.1),), NOW, kids)
    sandbox = Settings(data=town.folder / "sandbox")
    sandbox.folder("keys").mkdir(parents=True, exist_ok=True)
    return Desk(town, sandbox, result)


async def test_a_run_counts_for_a_year_for_the_end_point_whose_key_was_examined(desk: Desk) -> None:
    assert await desk.record(desk.file()) == desk.town.school.end_point
    [one] = await desk.recorded()
    assert (one.party, one.end_point, one.level) == (
        desk.town.county.school,
        desk.town.school.end_point,
        "confidential",
    )
    assert one.valid_to - one.valid_from == timedelta(days=HOLDS_DAYS)
    assert one.recorded_by == "ada"
    assert one.reference.startswith("sha-256 ")


async def test_what_does_not_hold_is_refused_with_a_number_and_nothing_is_recorded(desk: Desk) -> None:
    town, good = desk.town, desk.file()
    altered = town.folder / "altered.json"
    altered.write_text(good.read_text().replace("MIS 7", "MIS 8"))
    forged = town.folder / "forged.json"
    evidence.write(Settings(data=town.folder / "forger"), desk.result, forged)
    year = timedelta(days=HOLDS_DAYS)
    refused: list[tuple[str, str, Path, dict[str, Any]]] = [
        ("CR-173", "changed|not what is signed", altered, {}),
        ("CR-173", "Another key", forged, {}),
        ("CR-147", "none of this party's", good, {"end_point": town.other_school.end_point}),
        ("CR-147", "No end point of this party", good, {"party": town.county.other_school}),
        ("CR-147", "speaks for", good, {"valid_to": (NOW + year + timedelta(days=2)).date()}),
    ]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("did not pass", {"checks": (Check("enrolled", False, "no", 0.1),)}),
        ("did not pass", {"checks": ()}),
        ("It ended on", {"at": NOW - year - timedelta(days=2)}),
        ("still to come", {"at": NOW + timedelta(days=1)}),
        ("a key that was examined", {"keys": ()}),
    ]
    for code, words, file, more in refused:
        await _refused(desk, code, words, file, more)
    for words, change in changes:
        await _refused(desk, "CR-147", words, desk.file(**change), {})
    assert await desk.recorded() == []


async def _refused(desk: Desk, code: str, words: str, file: Path, more: dict[str, Any]) -> None:
    with pytest.raises(Problem, match=words) as raised:
        await desk.record(file, **more)
    assert raised.value.code == code


async def test_the_operator_records_it_by_command_with_a_public_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.town.settings.database is not None
    monkeypatch.setenv("COMMONROOM_DATABASE", desk.town.settings.database)
    monkeypatch.setenv("COMMONROOM_MODE", "demo")
    public = desk.town.folder / "sandbox.jwk"
    file = desk.file()
    public.write_bytes(msgspec.json.encode(keys.public_jwk(keys.load(desk.key))))
    command = ["add", SCHOOL_ALIAS, "internal", "--data", str(desk.town.settings.data), "--file", str(file)]

    def run(*more: str) -> Any:
        return CliRunner().invoke(assurance_commands.app, [*command, *more])

    without = await asyncio.to_thread(run)
    assert without.exit_code == 1
    assert "CR-173" in without.output + str(without.exception)
    assert (await asyncio.to_thread(run, "--kind", "audit")).exit_code == 2
    done = await asyncio.to_thread(run, "--key", str(public))
    assert done.exit_code == 0, done.output
    [one] = await desk.recorded()
    assert one.level == "internal"
