"""What is stored is encrypted: a copy of the database tells no letter, and a changed byte never becomes a letter."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from commonroom.exchange import Client
from commonroom.hub import commands
from commonroom.hub.master_keys import OVERHEAD, MasterKeys, SealedBody
from commonroom.hub.sealed_letters import CHANGED
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import message
from tests.unit.hub.conftest import Town

SECRET = b"Ada Lovelace was absent"
CHANGES = {
    "ciphertext": "UPDATE hub.body SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE message = $1",
    "nonce": "UPDATE hub.body SET body = set_byte(body, 0, get_byte(body, 0) # 1) WHERE message = $1",
    "tag": "UPDATE hub.body SET body = set_byte(body, length(body) - 1, 7) WHERE message = $1",
    "cut off": "UPDATE hub.body SET body = substr(body, 1, 5) WHERE message = $1",
    "wrapped key": "UPDATE hub.body SET wrapped = set_byte(wrapped, 30, get_byte(wrapped, 30) # 1) WHERE message = $1",
    "another's body": """
        UPDATE hub.body b SET body = o.body, master = o.master, wrapped = o.wrapped
        FROM hub.body o WHERE b.message = $1 AND o.message = $1 - 1
    """,
}


@pytest.mark.parametrize("size", [0, 1, 1024, 1_000_000])
def test_a_body_opens_as_it_was_sealed_and_for_its_message_alone(settings: Settings, size: int) -> None:
    keys, name, body = MasterKeys(settings), uuid4(), bytes(size)
    sealed = keys.seal(name, body)
    assert len(sealed.body) == size + OVERHEAD
    assert MasterKeys(settings).open(name, sealed) == body
    with pytest.raises(Problem, match="CR-148"):
        keys.open(uuid4(), sealed)


def test_every_flipped_bit_is_found(settings: Settings) -> None:
    keys, name = MasterKeys(settings), uuid4()
    sealed = keys.seal(name, b"letter")
    assert sealed.wrapped is not None
    for place in range(len(sealed.body)):
        with pytest.raises(Problem, match="CR-148"):
            keys.open(name, SealedBody(flipped(sealed.body, place), sealed.master, sealed.wrapped))
    for place in range(len(sealed.wrapped)):
        with pytest.raises(Problem, match="CR-148"):
            keys.open(name, SealedBody(sealed.body, sealed.master, flipped(sealed.wrapped, place)))
    with pytest.raises(Problem, match="CR-148"):
        keys.open(name, SealedBody(b"letter", None, None))


def flipped(text: bytes, place: int) -> bytes:
    return text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]


async def test_no_table_of_the_hub_holds_a_letter(town: Town) -> None:
    await town.school.post(*message(town.county, SECRET))
    [letter] = await town.warehouse.pull(10, 5)
    assert letter.body == SECRET
    tables = await town.pool.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname IN ('hub', 'identity')"
    )
    assert "hub.body" in {table["name"] for table in tables}
    for table in tables:
        for row in await town.pool.fetch(f"SELECT * FROM {table['name']}"):
            for value in row.values():
                held = value if isinstance(value, bytes) else str(value).encode()
                assert SECRET not in held
                assert SECRET.hex().encode() not in held


@pytest.mark.parametrize("what", CHANGES)
async def test_a_changed_body_is_never_delivered_and_everybody_learns_of_it(town: Town, what: str) -> None:
    before, changed, after = [
        await town.school.post(*message(town.county, SECRET + str(number).encode())) for number in range(3)
    ]
    await town.pool.execute(CHANGES[what], changed.position)
    with capture_logs() as logs:
        letters = await town.warehouse.pull(10, 5)
    assert [letter.position for letter in letters] == [before.position, after.position]
    assert any(entry["log_level"] == "error" and entry.get("messages") == [changed.message] for entry in logs)
    tracking = await town.school.track(changed.message)
    fate = next(one for one in tracking.deliveries if one.recipient == town.county.warehouse)
    assert (fate.state, fate.reason) == ("undeliverable", CHANGED)


async def test_without_the_master_key_nothing_goes_out_and_nothing_is_lost(town: Town) -> None:
    await town.school.post(*message(town.county, SECRET))
    folder = town.settings.folder("keys") / "bodies"
    [file] = folder.glob("*.master")
    away = file.rename(folder / "away")
    town_pull: Client = town.warehouse
    with pytest.raises(Exception, match=r"CR-149|master key|503"):
        await town_pull.pull(10, 0)
    away.rename(file)
    [letter] = await town.warehouse.pull(10, 5)
    assert letter.body == SECRET


async def test_a_new_master_key_wraps_the_keys_and_leaves_the_bodies(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await town.school.post(*message(town.county, SECRET + str(number).encode()))
    before = await town.pool.fetch("SELECT body, master FROM hub.body ORDER BY message")
    done = await _rotate(town.settings, monkeypatch)
    assert done.exit_code == 0, done.output
    assert "3 bodies" in done.output
    after = await town.pool.fetch("SELECT body, master FROM hub.body ORDER BY message")
    assert [row["body"] for row in after] == [row["body"] for row in before]
    assert {row["master"] for row in after}.isdisjoint(row["master"] for row in before)
    await town.school.post(*message(town.county, SECRET))
    assert len(await town.pool.fetch("SELECT DISTINCT master FROM hub.body")) == 1
    assert len(await town.warehouse.pull(10, 5)) == 4


async def _rotate(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    arguments = ["keys", "rotate-master", "--data", str(settings.data)]
    return await asyncio.to_thread(CliRunner().invoke, commands.app, arguments)


def test_a_file_that_does_not_hold_its_key_is_refused(settings: Settings) -> None:
    keys = MasterKeys(settings)
    sealed = keys.seal(name := uuid4(), b"letter")
    [file] = Path(settings.folder("keys") / "bodies").glob("*.master")
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(bytes(32))
    with pytest.raises(Problem, match="CR-149"):
        MasterKeys(settings).open(name, sealed)


def test_sealing_and_opening_a_kilobyte_costs_microseconds(settings: Settings) -> None:
    keys, body, rounds = MasterKeys(settings), bytes(1024), 2_000
    names = [uuid4() for _ in range(rounds)]
    began = time.perf_counter()
    sealed = [keys.seal(name, body) for name in names]
    middle = time.perf_counter()
    opened = [keys.open(name, one) for name, one in zip(names, sealed, strict=True)]
    ended = time.perf_counter()
    assert all(one == body for one in opened)
    seal, open_ = ((span / rounds * 1e6) for span in (middle - began, ended - middle))
    print(f"1 KB: sealed in {seal:.1f} us, opened in {open_:.1f} us")
    assert seal + open_ < 1_000
