"""The ledger over HTTP: heads, proofs, keys; who sees what; and the order of entries that commit out of order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from commonroom import merkle
from commonroom.engines.database import connect
from commonroom.hub import ledger_form, proofs, sequencer
from commonroom.hub.ledger_form import ConsistencyProof, InclusionProof, PublicKey, SignedHead
from commonroom.settings import Settings
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async

ENTRY = "INSERT INTO hub.ledger (event, message, party) VALUES ('leased', $1, 'urn:x')"
ORDER = "SELECT entry FROM hub.ledger_leaf ORDER BY position"


async def _get(town: Town, path: str, client: Any = None) -> tuple[int, bytes]:
    headers = {}
    if client is not None:
        headers["authorization"] = f"Bearer {await client._current_token()}"
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"{town.url}{path}", headers=headers)
    return answer.status_code, answer.content


async def _keys(town: Town) -> list[PublicKey]:
    status, body = await _get(town, "/ledger/keys")
    assert status == 200
    return msgspec.convert(msgspec.json.decode(body)["keys"], list[PublicKey])


async def _proof(town: Town, client: Any, message_id: str, entries: int) -> InclusionProof:
    """The proof once it holds so many entries."""

    async def covered() -> InclusionProof | None:
        status, body = await _get(town, f"/messages/{message_id}/proof", client)
        if status == 404 and msgspec.json.decode(body)["code"] == "CR-131":
            return None
        assert status == 200, body
        proof = msgspec.json.decode(body, type=InclusionProof)
        return proof if len(proof.entries) >= entries and not proof.later else None

    proof = await until_async(covered, 15, "a signed head covering the message")
    assert proof is not None
    return proof


async def test_sender_and_recipient_can_prove_what_happened_and_see_only_their_part(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    [letter] = await town.warehouse.pull(10, 0)
    await town.warehouse.acknowledge([letter.delivery])
    of_sender = await _proof(town, town.school, receipt.message, 3)
    of_recipient = await _proof(town, town.warehouse, receipt.message, 3)
    of_other = await _proof(town, town.authority, receipt.message, 1)
    assert [proven.entry.event for proven in of_sender.entries] == ["accepted", "leased", "acknowledged"]
    assert [proven.entry.event for proven in of_recipient.entries] == ["accepted", "leased", "acknowledged"]
    assert [proven.entry.event for proven in of_other.entries] == ["accepted"]
    keys = await _keys(town)
    for proof in (of_sender, of_recipient, of_other):
        assert ledger_form.verify_inclusion(proof, keys)
    status, _ = await _get(town, f"/messages/{receipt.message}/proof", town.other_school)
    assert status == 404


async def test_a_proof_of_something_else_does_not_verify(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    proof = await _proof(town, town.school, receipt.message, 1)
    keys = await _keys(town)
    [proven] = proof.entries
    replace = msgspec.structs.replace
    for changed in (
        replace(proven, entry=replace(proven.entry, event="refused")),
        replace(proven, entry=replace(proven.entry, party=town.county.warehouse)),
        replace(proven, position=proven.position + 1),
    ):
        assert not ledger_form.verify_inclusion(replace(proof, entries=[changed]), keys)
    assert not ledger_form.verify_inclusion(replace(proof, head=replace(proof.head, size=99)), keys)
    assert not ledger_form.verify_inclusion(proof, [])


async def test_the_head_grows_and_each_provably_continues_the_one_before(town: Town) -> None:
    heads: list[SignedHead] = []
    for _ in range(3):
        receipts = await town.school.post_batch([message(town.county) for _ in range(7)])
        proof = await _proof(town, town.school, receipts[-1].message, 1)  # type: ignore[union-attr]
        heads.append(proof.head)
    assert heads[0].size < heads[1].size < heads[2].size
    keys = await _keys(town)
    for old, new in ((0, 1), (0, 2), (1, 2)):
        path = f"/ledger/consistency?old={heads[old].size}&new={heads[new].size}"
        status, body = await _get(town, path, town.warehouse)
        assert status == 200
        proof = msgspec.json.decode(body, type=ConsistencyProof)
        assert (proof.old, proof.new) == (heads[old], heads[new])
        assert ledger_form.verify_consistency(proof, keys)
        assert not ledger_form.verify_consistency(msgspec.structs.replace(proof, old=heads[new]), keys)
    status, body = await _get(town, "/ledger/head")
    assert msgspec.json.decode(body, type=SignedHead) == heads[2]
    assert (await _get(town, f"/ledger/consistency?old={heads[2].size + 1}", town.warehouse))[0] == 404
    assert (await _get(town, "/ledger/consistency?old=1"))[0] == 401


async def test_a_repeated_send_tells_the_ledger_position(town: Town) -> None:
    letter = message(town.county)
    first = await town.school.post(*letter)
    assert first.ledger_position is None
    proof = await _proof(town, town.school, first.message, 1)
    again = await town.school.post(*letter)
    assert again.repeated
    assert again.ledger_position == proof.entries[0].position


async def test_no_entry_is_skipped_or_waited_for_when_transactions_end_out_of_order(
    settings: Settings, pool: Any
) -> None:
    early, late, sequencing = [await connect(settings) for _ in range(3)]
    try:
        first = early.transaction()
        await first.start()
        await early.execute(ENTRY, 1)
        await late.execute(ENTRY, 2)
        assert await sequencer.sequence(sequencing) == 1
        lost = late.transaction()
        await lost.start()
        await late.execute(ENTRY, 3)
        await lost.rollback()
        assert await sequencer.sequence(sequencing) == 0
        await late.execute(ENTRY, 4)
        await first.commit()
        assert await sequencer.sequence(sequencing) == 2
        assert await sequencer.sequence(sequencing) == 0
        entries = [row["entry"] for row in await pool.fetch(ORDER)]
        assert entries == [2, 1, 4]
    finally:
        for connection in (early, late, sequencing):
            await connection.close()


async def test_after_a_restore_into_another_cluster_nothing_is_skipped(pool: Any) -> None:
    async with pool.acquire() as connection:
        await connection.execute(ENTRY, 1)
        assert await sequencer.sequence(connection) == 1
        # A dump restored elsewhere: transaction numbers there are behind what the snapshot of the old cluster says.
        await connection.execute(
            "UPDATE hub.ledger_sequencer SET cluster = 1, seen = '900000000:900000000:'::pg_snapshot"
        )
        await connection.execute(ENTRY, 2)
        assert await sequencer.sequence(connection) == 1
        await connection.execute(ENTRY, 3)
        assert await sequencer.sequence(connection) == 1
        assert [row["entry"] for row in await connection.fetch(ORDER)] == [1, 2, 3]


async def test_two_sequencers_at_once_give_each_position_once(settings: Settings, pool: Any) -> None:
    connections = [await connect(settings) for _ in range(3)]
    try:
        for _ in range(5):
            await pool.executemany(ENTRY, [(number,) for number in range(40)])
            done = await asyncio.gather(
                *(sequencer.sequence(connection) for connection in connections), return_exceptions=True
            )
            assert sum(found for found in done if isinstance(found, int)) == 40
        entries = [row["entry"] for row in await pool.fetch(ORDER)]
        assert sorted(entries) == list(range(1, 201))
    finally:
        for connection in connections:
            await connection.close()


async def test_proofs_hold_at_every_position_of_a_ledger_of_several_tiles(
    settings: Settings, pool: Any
) -> None:
    async with pool.acquire() as connection:
        key = sequencer.signing_key(settings)
        sizes = []
        for count in (3, 500, 797):
            await connection.execute(
                "INSERT INTO hub.ledger (event, message, party) SELECT 'leased', n, 'urn:x' FROM generate_series(1, $1) n",
                count,
            )
            await sequencer.sequence(connection)
            assert await sequencer.sign_head(connection, key)
            assert not await sequencer.sign_head(connection, key)
            sizes.append((await proofs.newest_head(connection)).size)
        assert sizes == [3, 503, 1300]
        leaves = [
            row["hash"]
            for row in await connection.fetch("SELECT hash FROM hub.ledger_leaf ORDER BY position")
        ]
        head = await proofs.newest_head(connection)
        assert bytes.fromhex(head.root) == merkle.root_of(leaves)
        places = [0, 1, 255, 256, 511, 512, 1023, 1024, 1298, 1299]
        found = await proofs._hashes(connection, [merkle.inclusion_ranges(place, 1300) for place in places])
        for place, path in zip(places, found, strict=True):
            assert merkle.verify_inclusion(leaves[place], place, 1300, path, bytes.fromhex(head.root))
        for old in sizes:
            proof = await proofs.prove_consistency(connection, old)
            assert ledger_form.verify_consistency(proof, await proofs.published_keys(connection))


@pytest.mark.parametrize(
    "table",
    [
        "ledger",
        "ledger_group",
        "ledger_leaf",
        "ledger_leaf_group",
        "ledger_node",
        "ledger_head",
        "ledger_key",
    ],
)
@pytest.mark.parametrize(
    "statement", ["UPDATE hub.{0} SET {1} = {1}", "DELETE FROM hub.{0}", "TRUNCATE hub.{0}"]
)
async def test_the_database_refuses_to_change_what_the_ledger_says(
    pool: Any, table: str, statement: str
) -> None:
    column = {
        "ledger": "reason",
        "ledger_group": "event",
        "ledger_leaf_group": "hashes",
        "ledger_key": "x",
        "ledger_head": "time",
    }.get(table, "hash")
    with pytest.raises(Exception, match="only ever appended"):
        await pool.execute(statement.format(table, column))


def test_the_folder_of_the_signing_key_is_the_owners_alone(settings: Settings, tmp_path: Path) -> None:
    assert sequencer.signing_key(settings).thumbprint() == sequencer.signing_key(settings).thumbprint()
    assert (settings.folder("keys") / "ledger.pem").stat().st_mode & 0o077 == 0
