"""Entries that a statement writes in one row: the tree, the proofs and the verifier treat them as those written singly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from commonroom.engines.database import connect
from commonroom.hub import ledger, ledger_form, proofs, sequencer
from commonroom.hub.ledger_check import check, verify_database
from commonroom.hub.ledger_file import export, leaves, verify
from commonroom.hub.master_keys import MasterKeys
from commonroom.settings import Settings
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async

REASON = 'Näh: "so" nicht \\ <&>'
COVERED = """
SELECT (SELECT count(*) FROM hub.ledger_entry) = $1::bigint
    AND (SELECT coalesce(max(size), 0) FROM hub.ledger_head) = $1::bigint
"""
SINGLE = (
    "INSERT INTO hub.ledger (event, message, party) SELECT 'leased', max(position), 'urn:x' FROM hub.message"
)

LONE = "INSERT INTO hub.ledger (event, message, party) VALUES ('leased', 1, 'urn:x')"
GROUP = """
INSERT INTO hub.ledger_group (number, event, entries, messages, parties, party_of)
SELECT nextval('hub.ledger_entry_seq'), 'leased', ARRAY[nextval('hub.ledger_entry_seq'), nextval('hub.ledger_entry_seq')],
    ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY['urn:x'], ARRAY[1, 1]
RETURNING number
"""

# {0}: the group of what was accepted.
CHANGES = {
    "number": "UPDATE hub.ledger_group SET number = number + 1000000 WHERE number = {0}",
    "at": "UPDATE hub.ledger_group SET at = at + interval '1 microsecond' WHERE number = {0}",
    "tx": "UPDATE hub.ledger_group SET tx = '7' WHERE number = {0}",
    "event": "UPDATE hub.ledger_group SET event = 'other' WHERE number = {0}",
    "entries": "UPDATE hub.ledger_group SET entries[2] = entries[2] + 1000000 WHERE number = {0}",
    "messages": "UPDATE hub.ledger_group SET messages[2] = messages[1] WHERE number = {0}",
    "messages swapped": """
        UPDATE hub.ledger_group SET messages = ARRAY[messages[2], messages[1]] || messages[3:] WHERE number = {0}
    """,
    "parties": "UPDATE hub.ledger_group SET parties[1] = parties[1] || 'x' WHERE number = {0}",
    "party_of": "UPDATE hub.ledger_group SET party_of[2] = 9 WHERE number = {0}",
    "digests": "UPDATE hub.ledger_group SET digests = set_byte(digests, 40, get_byte(digests, 40) # 1) WHERE number = {0}",
    "reasons added": "UPDATE hub.ledger_group SET reasons = array_fill('x'::text, ARRAY[5]) WHERE number = {0}",
    "reasons": "UPDATE hub.ledger_group SET reasons[2] = 'usable' WHERE event = 'refused'",
    "an entry more": """
        UPDATE hub.ledger_group SET entries = entries || 1000000::bigint, messages = messages || messages[1],
            party_of = party_of || 1
        WHERE event = 'leased'
    """,
    "an entry less": """
        UPDATE hub.ledger_group SET entries = trim_array(entries, 1), messages = trim_array(messages, 1),
            party_of = trim_array(party_of, 1)
        WHERE event = 'leased'
    """,
    "row": "DELETE FROM hub.ledger_group WHERE number = {0}",
    "row slipped in": """
        INSERT INTO hub.ledger_group (number, tx, event, entries, messages, parties, party_of)
        SELECT 1000000, '7', 'leased', ARRAY[1000001], messages[1:1], parties, ARRAY[1]
        FROM hub.ledger_group WHERE number = {0}
    """,
    "leaf.position": "UPDATE hub.ledger_leaf_group SET position = position + 1000 WHERE ledger_group = {0}",
    "leaf.ledger_group": "UPDATE hub.ledger_leaf_group SET ledger_group = 1000000 WHERE ledger_group = {0}",
    "leaf.hashes": """
        UPDATE hub.ledger_leaf_group SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE ledger_group = {0}
    """,
    "leaf.hashes less": """
        UPDATE hub.ledger_leaf_group SET hashes = substring(hashes FROM 1 FOR 64) WHERE ledger_group = {0}
    """,
    "leaf row": "DELETE FROM hub.ledger_leaf_group WHERE ledger_group = {0}",
    "message.ledger_group": "UPDATE hub.message SET ledger_group = NULL WHERE ledger_group = {0}",
    "delivery.ledger_groups": "UPDATE hub.delivery SET ledger_groups = ledger_groups[1:1] WHERE state = 'acknowledged'",
    "message.ce_id": "UPDATE hub.message SET ce_id = ce_id || 'x'",
    "message.envelope": "UPDATE hub.message SET envelope = jsonb_set(envelope, '{{type}}', to_jsonb('other'::text))",
    "message.id": "UPDATE hub.message SET id = gen_random_uuid()",
}


async def _five_messages(town: Town) -> list[str]:
    """Five messages, sent together; of those to the warehouse two refused for a reason and three acknowledged."""
    moment = datetime(2026, 9, 7, 9, 0, 0, 120, tzinfo=UTC)
    receipts = await town.school.post_batch(
        [message(town.county, subject=f"Ä {number} <&>", time=moment) for number in range(5)]
    )
    letters = await town.warehouse.pull(10, 0)
    await town.warehouse.refuse([letter.delivery for letter in letters[:2]], REASON)
    await town.warehouse.acknowledge([letter.delivery for letter in letters[2:]])
    await until_async(lambda: town.pool.fetchval(COVERED, 15), 15, "a head over fifteen entries")
    return [receipt.message for receipt in receipts]  # type: ignore[union-attr]


async def test_what_is_written_in_groups_is_proved_exported_and_verified_like_single_entries(
    town: Town,
) -> None:
    names = await _five_messages(town)
    assert await town.pool.fetchval("SELECT count(*) FROM hub.ledger") == 0
    assert await town.pool.fetchval("SELECT count(*) FROM hub.ledger_group") == 4
    # A single entry after them, and one more group: both kinds stand in one tree, in the order of their numbers.
    await town.pool.execute(SINGLE)
    await town.school.post_batch([message(town.county) for _ in range(300)])
    await until_async(lambda: town.pool.fetchval(COVERED, 316), 15, "a head over all entries")
    keys = MasterKeys(town.settings)
    async with town.pool.acquire() as connection:
        verdict = await verify_database(connection, master_keys=keys)
        assert (verdict.faults, verdict.entries, verdict.bodies) == ([], 316, 305)
        about = await export(connection, town.folder / "ledger.jsonl")
        assert verify(town.folder / "ledger.jsonl", await proofs.published_keys(connection)).faults == []
        assert about.size == 316
        async with connection.transaction():
            entries = [sequencer.entry_of(row) async for _, row in leaves(connection, 316)]
        assert [entry.event for entry in entries] == (
            ["accepted"] * 5
            + ["leased"] * 5
            + ["refused"] * 2
            + ["acknowledged"] * 3
            + ["leased"]
            + ["accepted"] * 300
        )
        numbers = [entry.entry for entry in entries]
        assert numbers == sorted(set(numbers))
        positions = await connection.fetch("SELECT entry, hash FROM hub.ledger_place ORDER BY position")
        assert [row["entry"] for row in positions] == numbers
        assert [row["hash"] for row in positions] == [ledger_form.leaf_of(entry) for entry in entries]
        published = await proofs.published_keys(connection)
        for place, end in ((0, "refused"), (4, "acknowledged")):
            proof = await proofs.prove(connection, names[place], town.county.school)
            events = [proven.entry.event for proven in proof.entries]
            assert [event for event in events if event != "leased"] == ["accepted", end]
            assert ledger_form.verify_inclusion(proof, published)
        told = await ledger.entries_of(connection, await _position(connection, names[0]))
        assert [(entry.event, entry.reason) for entry in told] == [
            ("accepted", None),
            ("leased", None),
            ("refused", REASON),
        ]


async def test_every_column_of_a_group_counts_and_the_fault_names_its_table(town: Town) -> None:
    await _five_messages(town)
    silent = []
    async with town.pool.acquire() as connection:
        keys = MasterKeys(town.settings)
        first = await connection.fetchval("SELECT number FROM hub.ledger_group WHERE event = 'accepted'")
        # The constraints would stop some of it: somebody with all rights in the database takes them away.
        for name, statement in CHANGES.items():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("ALTER TABLE hub.ledger_group DROP CONSTRAINT whole")
            await connection.execute(statement.format(first))
            if not any("hub." in fault for fault in (await check(connection, master_keys=keys)).faults):
                silent.append(name)
            await transaction.rollback()
        assert silent == []
        assert (await verify_database(connection, master_keys=keys)).faults == []


async def test_a_repeated_send_tells_the_position_of_its_own_entry_in_the_group(town: Town) -> None:
    letters = [message(town.county) for _ in range(4)]
    receipts = await town.school.post_batch(letters)
    await until_async(lambda: town.pool.fetchval(COVERED, 4), 15, "a head over four entries")
    for letter, receipt in zip(letters, receipts, strict=True):
        again = await town.school.post(*letter)
        assert again.repeated
        async with town.pool.acquire() as connection:
            proof = await proofs.prove(connection, receipt.message, town.county.school)  # type: ignore[union-attr]
        assert [proven.position for proven in proof.entries] == [again.ledger_position]


async def test_groups_that_commit_out_of_order_or_were_restored_elsewhere_come_once_each(
    settings: Settings, pool: Any
) -> None:
    early, late, sequencing = [await connect(settings) for _ in range(3)]
    try:
        first = early.transaction()
        await first.start()
        one = await early.fetchval(GROUP)
        two = await late.fetchval(GROUP)
        assert await sequencer.sequence(sequencing) == 2
        assert await sequencer.sequence(sequencing) == 0
        await late.execute(LONE)
        await first.commit()
        assert await sequencer.sequence(sequencing) == 3
        # A dump restored elsewhere: transaction numbers there are behind what the snapshot of the old cluster says.
        await late.execute(
            "UPDATE hub.ledger_sequencer SET cluster = 1, seen = '900000000:900000000:'::pg_snapshot"
        )
        three = await late.fetchval(GROUP)
        assert await sequencer.sequence(sequencing) == 2
        assert await sequencer.sequence(sequencing) == 0
        rows = await pool.fetch("SELECT ledger_group, position FROM hub.ledger_leaf_group ORDER BY position")
        assert [tuple(row) for row in rows] == [(two, 0), (one, 2), (three, 5)]
        places = await pool.fetch("SELECT position FROM hub.ledger_place ORDER BY position")
        assert [row["position"] for row in places] == list(range(7))
    finally:
        for connection in (early, late, sequencing):
            await connection.close()


async def _position(connection: Any, name: str) -> int:
    position: int = await connection.fetchval("SELECT position FROM hub.message WHERE id = $1::uuid", name)
    return position
