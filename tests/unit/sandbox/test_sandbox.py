"""The sandbox's folder, clock and faults."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom import sandbox
from commonroom.exchange import Envelope
from commonroom.ids import alias_urn
from commonroom.problems import Problem
from commonroom.sandbox import commands, faults, stage
from commonroom.settings import Settings
from tests.hub_server import enrolled_client, free_port, hub_here


def test_a_folder_with_something_else_in_it_never_becomes_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{}")
    with pytest.raises(Problem) as raised:
        stage.new_folder(tmp_path, None)
    assert raised.value.code == "CR-170"


def test_two_that_start_at_once_never_take_the_same_port(tmp_path: Path) -> None:
    # Neither listens yet: each has only looked.
    port = free_port()
    first, second = (stage.new_folder(tmp_path / name, port) for name in ("first", "second"))
    assert first.hub_port == port
    assert len({first.hub_port, first.portal_port, second.hub_port, second.portal_port}) == 4


def test_clock_and_faults_touch_sandboxes_only(tmp_path: Path) -> None:
    with pytest.raises(Problem) as raised:
        sandbox.open_folder(tmp_path)
    assert raised.value.code == "CR-170"


def test_a_production_system_never_becomes_a_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMONROOM_MODE", "production")
    with pytest.raises(Problem) as raised:
        stage.new_folder(tmp_path / "new", None)
    assert raised.value.code == "CR-006"
    stage_folder = tmp_path / "was one"
    stage_folder.mkdir()
    (stage_folder / stage.MARK).touch()
    with pytest.raises(Problem):
        sandbox.open_folder(stage_folder)


@pytest.mark.parametrize(
    ("text", "length"), [("2d", timedelta(days=2)), ("90m", timedelta(minutes=90)), ("1s", timedelta(0, 1))]
)
def test_the_clock_is_advanced_by_lengths_of_time(text: str, length: timedelta) -> None:
    assert commands._duration(text) == length


@pytest.mark.parametrize("text", ["", "d", "-1d", "0h", "1w", "1.5h", "1000000d"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(Problem) as raised:
        commands._duration(text)
    assert raised.value.code == "CR-002"


def test_a_hub_that_does_not_run_cannot_be_killed(tmp_path: Path) -> None:
    with pytest.raises(Problem) as raised:
        faults.restart_hub(Settings(data=tmp_path))
    assert raised.value.code == "CR-171"


async def test_setting_up_twice_changes_nothing_and_gives_every_newcomer_a_code_of_its_own(
    settings: Settings, pool: Any
) -> None:
    async with pool.acquire() as connection:
        await sandbox.prepare(connection, settings)
        codes = {path: path.read_text() for path in settings.data.glob("partners/*/code")}
        await sandbox.prepare(connection, settings)
        first, second = [await sandbox.newcomer(connection, settings) for _ in range(2)]
    assert {path: path.read_text() for path in settings.data.glob("partners/*/code")} == codes
    assert len(codes) == len(sandbox.PARTNERS)
    assert (first.party, first.alias) == (second.party, sandbox.NEWCOMER)
    assert first.code != second.code


async def test_a_lost_lease_offers_the_letter_again_at_once(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:

    settings = msgspec.structs.replace(settings, lease_seconds=600)
    async with hub_here(settings) as served, pool.acquire() as connection:
        await sandbox.prepare(connection, served)
        me = await sandbox.newcomer(connection, served)
        other = alias_urn("urn", "990005")
        async with (
            await enrolled_client(connection, served.hub_url, me.party, tmp_path) as sender,
            await enrolled_client(
                connection, served.hub_url, await stage.party_of(connection, other), tmp_path
            ) as taker,
        ):
            envelope = Envelope(id="1", source=me.party, type=sandbox.GREETING_TYPE, recipient=other)
            await sender.post(envelope, b"letter")
            (held,) = await taker.pull(limit=1, wait=10)
            assert await taker.pull(limit=1, wait=0) == []
            assert await faults.lose_leases(connection) == 1
            (again,) = await taker.pull(limit=1, wait=10)
    assert (held.delivery, held.attempt + 1) == (again.delivery, again.attempt)
