"""Whoever changes any stored byte of the ledger, or of what it vouches for, is found, in the file and in the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from commonroom.engines import clock
from commonroom.hub import ledger_commands, proofs, retention, sequencer
from commonroom.hub.ledger_check import check, verify_database
from commonroom.hub.ledger_file import export, verify
from commonroom.hub.ledger_form import PublicKey, key_id
from commonroom.hub.master_keys import MasterKeys
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings

BODY = b"the letter"
MESSAGE = """
WITH message AS (
    INSERT INTO hub.message (id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until)
    VALUES ($1::uuid, 'urn:school', $1::text, 'any.type', $2, sha256($3), length($3), 'end point',
        engines.domain_now(), engines.domain_now() + interval '30 days')
    RETURNING position, source, digest
), body AS (
    INSERT INTO hub.body (message, body, master, wrapped) SELECT position, $4, $5, $6 FROM message
), delivery AS (
    INSERT INTO hub.delivery (id, message, recipient, movement) SELECT $1::uuid, position, 'urn:recipient', 'm' FROM message
)
INSERT INTO hub.ledger (event, message, party, digest) SELECT 'accepted', position, source, digest FROM message
"""

LEASED = "INSERT INTO hub.ledger (event, message, party) SELECT 'leased', max(position), 'urn:recipient' FROM hub.message"
REFUSED = """
WITH done AS (
    UPDATE hub.delivery SET state = 'refused', reason = 'cannot be used', finished_at = engines.domain_now()
    WHERE message = (SELECT max(position) FROM hub.message)
    RETURNING message, recipient, reason
)
INSERT INTO hub.ledger (event, message, party, reason) SELECT 'refused', message, recipient, reason FROM done
"""


async def _fill(connection: Any, settings: Settings, messages: int) -> None:
    """Messages, each refused by its recipient, under two heads, in a ledger of several tiles."""
    key = sequencer.signing_key(settings)
    for _ in range(messages):
        name = uuid7()
        envelope = {"id": str(name), "source": "urn:school", "type": "any.type"}
        sealed = MasterKeys(settings).seal(name, BODY)
        await connection.execute(MESSAGE, name, envelope, BODY, sealed.body, sealed.master, sealed.wrapped)
        await sequencer.sequence(connection)
        await sequencer.sign_head(connection, key)
        await connection.execute(LEASED)
        await connection.execute(REFUSED)
    await sequencer.sequence(connection)
    await sequencer.sign_head(connection, key)


@pytest.fixture
async def filled(settings: Settings, pool: Any) -> AsyncIterator[Any]:
    async with pool.acquire() as connection:
        await _fill(connection, settings, 2)
        yield connection


async def test_an_untouched_ledger_verifies_in_the_file_and_in_the_database(
    filled: Any, settings: Settings, tmp_path: Path
) -> None:
    about = await export(filled, tmp_path / "ledger.jsonl")
    pinned = await proofs.published_keys(filled)
    for verdict in (
        verify(tmp_path / "ledger.jsonl", pinned),
        await verify_database(filled, pinned, master_keys=MasterKeys(settings)),
    ):
        assert verdict.faults == []
        assert (verdict.entries, verdict.heads) == (about.size, about.heads) == (6, 3)
    text = (tmp_path / "ledger.jsonl").read_text("ascii")
    assert BODY.decode() not in text
    assert "cannot be used" not in text


async def test_every_byte_of_an_exported_file_counts(filled: Any, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    await export(filled, file)
    good = file.read_bytes()
    changed = tmp_path / "changed.jsonl"
    for place in range(len(good)):
        # One bit, and not the same one everywhere; the bit of letter case among them.
        for bit in (1 << place % 8, 0x20):
            changed.write_bytes(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
            line = good.count(b"\n", 0, place) + 1
            assert _names(changed, line), f"byte {place} of line {line}, bit {bit}"


def _names(file: Path, line: int) -> bool:
    """Whether the verifier finds a fault, and names this line, or its head or keys when they are what it says."""
    try:
        faults = verify(file).faults
    except Problem as problem:
        return problem.code == "CR-130" and line == 1
    return any(fault.startswith(f"line {line}:") or line == 1 for fault in faults)


async def test_lines_missing_doubled_swapped_or_added_are_found(filled: Any, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    await export(filled, file)
    lines = file.read_bytes().splitlines(keepends=True)
    for place in range(1, len(lines)):
        for changed in (
            lines[:place] + lines[place + 1 :],
            [*lines[:place], *lines[place - 1 :]],
            [*lines[: place - 1], lines[place], lines[place - 1], *lines[place + 1 :]],
            lines[:place],
        ):
            file.write_bytes(b"".join(changed))
            assert _names(file, 1), f"line {place + 1}"


async def test_a_whole_ledger_forged_with_another_key_is_found_by_who_has_the_right_key(
    filled: Any, tmp_path: Path, settings: Settings
) -> None:
    file = tmp_path / "ledger.jsonl"
    await export(filled, file)
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    stranger = PublicKey(kid=key_id(x), x=x)
    assert verify(file).faults == []
    assert any("not known" in fault for fault in verify(file, [stranger]).faults)
    assert any("trust" in fault for fault in (await verify_database(filled, [stranger])).faults)


CHANGES = {
    "ledger.entry": "UPDATE hub.ledger SET entry = 900 WHERE entry = 2",
    "ledger.at": "UPDATE hub.ledger SET at = at + interval '1 microsecond' WHERE entry = 2",
    "ledger.event": "UPDATE hub.ledger SET event = 'released' WHERE entry = 2",
    "ledger.message": "UPDATE hub.ledger SET message = message + 1 WHERE entry = 2",
    "ledger.party": "UPDATE hub.ledger SET party = party || 'x' WHERE entry = 2",
    "ledger.digest": "UPDATE hub.ledger SET digest = set_byte(digest, 3, get_byte(digest, 3) # 1) WHERE entry = 1",
    "ledger.digest added": "UPDATE hub.ledger SET digest = '\\x00' WHERE entry = 2",
    "ledger.reason": "UPDATE hub.ledger SET reason = 'usable' WHERE entry = 3",
    "ledger.tx": "UPDATE hub.ledger SET tx = '7' WHERE entry = 2",
    "ledger row": "DELETE FROM hub.ledger WHERE entry = 2",
    "message.position": "UPDATE hub.message SET position = 900 WHERE position = 1",
    "message.id": "UPDATE hub.message SET id = gen_random_uuid() WHERE position = 1",
    "message.source": "UPDATE hub.message SET source = 'urn:other' WHERE position = 1",
    "message.ce_id": "UPDATE hub.message SET ce_id = 'other' WHERE position = 1",
    "message.type": "UPDATE hub.message SET type = 'other.type' WHERE position = 1",
    "message.envelope": "UPDATE hub.message SET envelope = jsonb_set(envelope, '{type}', '\"other\"') WHERE position = 1",
    "message.digest": "UPDATE hub.message SET digest = '\\x00' WHERE position = 1",
    "message.size": "UPDATE hub.message SET size = size + 1 WHERE position = 1",
    "message.end_point": "UPDATE hub.message SET end_point = 'other' WHERE position = 1",
    "message.accepted_at": "UPDATE hub.message SET accepted_at = accepted_at - interval '1 day' WHERE position = 1",
    "message.retain_until": "UPDATE hub.message SET retain_until = '2000-01-01' WHERE position = 1",
    "message row": "DELETE FROM hub.message WHERE position = 1",
    "body": "UPDATE hub.body SET body = set_byte(body, 2, get_byte(body, 2) # 1) WHERE message = 1",
    "body.master": "UPDATE hub.body SET master = 'other' WHERE message = 1",
    "body.wrapped": "UPDATE hub.body SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE message = 1",
    "body.stored": "UPDATE hub.body SET body = NULL, stored = sha256('other') WHERE message = 1",
    "body row": "DELETE FROM hub.body WHERE message = 1",
    "leaf.position": "UPDATE hub.ledger_leaf SET position = 900 WHERE position = 2",
    "leaf.entry": "UPDATE hub.ledger_leaf SET entry = 900 WHERE position = 2",
    "leaf.hash": "UPDATE hub.ledger_leaf SET hash = set_byte(hash, 9, get_byte(hash, 9) # 1) WHERE position = 2",
    "leaf row": "DELETE FROM hub.ledger_leaf WHERE position = 2",
    "last leaf row": "DELETE FROM hub.ledger_leaf WHERE position = 5",
    "node added": "INSERT INTO hub.ledger_node SELECT 8, 0, hash FROM hub.ledger_leaf LIMIT 1",
    "head.size": "UPDATE hub.ledger_head SET size = 2 WHERE size = 1",
    "head.root": "UPDATE hub.ledger_head SET root = set_byte(root, 9, get_byte(root, 9) # 1) WHERE size = 1",
    "head.time": "UPDATE hub.ledger_head SET time = time + interval '1 microsecond' WHERE size = 1",
    "head.key": "UPDATE hub.ledger_head SET key = 'other' WHERE size = 1",
    "head.signature": "UPDATE hub.ledger_head SET signature = set_byte(signature, 0, get_byte(signature, 0) # 1)",
    "key.id": "UPDATE hub.ledger_key SET id = id || 'x'",
    "key.x": "UPDATE hub.ledger_key SET x = 'A' || x",
    "sequencer.size": "UPDATE hub.ledger_sequencer SET size = size - 1",
    "sequencer.peaks": "UPDATE hub.ledger_sequencer SET peaks = peaks[1:1]",
    "delivery.state": "UPDATE hub.delivery SET state = 'acknowledged' WHERE message = 1",
    "message slipped in": """
        INSERT INTO hub.message (id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until)
        SELECT gen_random_uuid(), source, 'new', type, envelope, digest, size, end_point, accepted_at, retain_until
        FROM hub.message WHERE position = 1
    """,
    "entry slipped in": "INSERT INTO hub.ledger (event, message, party, tx) VALUES ('leased', 1, 'urn:x', '7')",
}


async def test_every_column_of_what_is_stored_counts_and_the_fault_names_its_table(
    filled: Any, settings: Settings
) -> None:
    silent = []
    for name, statement in CHANGES.items():
        transaction = filled.transaction()
        await transaction.start()
        # What somebody with all rights in the database can do: no trigger and no key stands in the way.
        await filled.execute("SET LOCAL session_replication_role = replica")
        if name == "message.position":
            await filled.execute("ALTER TABLE hub.message ALTER COLUMN position DROP IDENTITY")
        if name == "ledger.entry":
            await filled.execute("ALTER TABLE hub.ledger ALTER COLUMN entry DROP IDENTITY")
        await filled.execute(statement)
        found = (await check(filled, master_keys=MasterKeys(settings))).faults
        if not any("hub." in fault or "keys:" in fault for fault in found):
            silent.append(name)
        await transaction.rollback()
    assert silent == []
    assert (await verify_database(filled, master_keys=MasterKeys(settings))).faults == []


async def test_a_changed_node_of_a_large_ledger_is_found(filled: Any, settings: Settings) -> None:
    await filled.execute(
        "INSERT INTO hub.ledger (event, message, party) SELECT 'leased', 1, 'urn:x' FROM generate_series(1, 600)"
    )
    await sequencer.sequence(filled)
    await sequencer.sign_head(filled, sequencer.signing_key(settings))
    assert (await verify_database(filled, master_keys=MasterKeys(settings))).faults == []
    await filled.execute("SET session_replication_role = replica")
    await filled.execute(
        "UPDATE hub.ledger_node SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) WHERE index = 1"
    )
    [fault] = (await verify_database(filled, master_keys=MasterKeys(settings))).faults
    assert "hub.ledger_node: level 8, index 1" in fault


async def test_a_body_past_its_retention_verifies_as_purged(filled: Any, settings: Settings) -> None:
    await clock.set_to(filled, settings, await clock.now(filled) + timedelta(days=31))
    await retention.purge(settings, filled)
    verdict = await verify_database(filled, master_keys=MasterKeys(settings))
    assert (verdict.faults, verdict.bodies, verdict.purged) == ([], 0, 2)


async def test_the_command_line_exports_and_verifies_and_says_what_is_wrong(
    filled: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    file, keys = tmp_path / "ledger.jsonl", tmp_path / "keys.json"
    keys.write_bytes(msgspec.json.encode({"keys": await proofs.published_keys(filled)}))

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, ledger_commands.app, [*arguments])

    assert (await run("export", str(file), "--data", str(settings.data))).exit_code == 0
    assert "all as signed" in (await run("verify", str(file), "--public-key", str(keys))).stdout
    assert (await run("verify", "--database", "--data", str(settings.data))).exit_code == 0
    file.write_bytes(file.read_bytes().replace(b'"event":"refused"', b'"event":"expired"', 1))
    result = await run("verify", str(file))
    assert result.exit_code == 1
    assert "line " in result.stdout
    assert "is not the one of its leaf hash" in result.stdout
