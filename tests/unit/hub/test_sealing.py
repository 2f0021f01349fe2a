"""End-to-end encryption: recipients read, the hub does not, and nothing goes out in plain form by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc.jwk import OKPKey

from commonroom.exchange import Envelope, sealing
from commonroom.hub.bodies import open_body
from commonroom.hub.master_keys import MasterKeys
from commonroom.problems import Problem
from tests.hub_server import message
from tests.unit.hub.conftest import Town

SECRET = b"The pupil's secret, in plain words"

_COLUMNS = """
SELECT format('SELECT count(*) FROM %I.%I AS row WHERE position($1 IN row::text) > 0', table_schema, table_name)
FROM information_schema.tables
WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'
"""

_BODIES = """
SELECT m.id AS message_id, b.body, b.master, b.wrapped
FROM hub.body b JOIN hub.message m ON m.position = b.message ORDER BY m.position
"""


async def found_in_database(connection: Any, secret: bytes) -> int:
    """In how many rows of any column of any table it stands, as text, as hex and as base64 text of bytea."""
    found = 0
    for (statement,) in await connection.fetch(_COLUMNS):
        for form in (secret.decode(), secret.hex()):
            found += await connection.fetchval(statement, form)
    return found


def found_in_files(folder: Path, secret: bytes) -> int:
    return sum(secret in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_recipients_read_what_the_hub_cannot(town: Town) -> None:
    for recipient in (town.authority, town.warehouse):
        await recipient.publish_encryption_key()
    envelope, body = message(town.county, SECRET, datacontenttype="text/plain")
    sealed = await town.school.seal(envelope, body)
    assert sealed[0].datacontenttype == "application/jose+json"
    receipt = await town.school.post(*sealed)
    assert (await town.school.post(*sealed)).message == receipt.message
    town.warehouse._verify = True
    for recipient in (town.authority, town.warehouse):
        [letter] = await recipient.pull(wait=5)
        assert (letter.body, letter.envelope.datacontenttype) == (SECRET, "text/plain")
    async with town.pool.acquire() as connection:
        assert await found_in_database(connection, SECRET) == 0
        # The search does find what is there in plain form.
        plain = await town.school.post(*message(town.county, subject="plain words"))
        assert await found_in_database(connection, b"plain words") == 1, plain
        # What the hub encrypts itself it can open; what is inside it still cannot read.
        rows = await connection.fetch(_BODIES)
    opened = [open_body(MasterKeys(town.settings), row) or b"" for row in rows]
    assert opened[1] == b"letter"
    assert SECRET not in opened[0]
    assert found_in_files(town.settings.data, SECRET) == 0


async def test_a_recipient_without_a_key_makes_the_client_refuse(town: Town) -> None:
    await town.authority.publish_encryption_key()
    with pytest.raises(Problem) as refused:
        await town.school.seal(*message(town.county, SECRET))
    assert refused.value.code == "CR-159"
    assert town.county.warehouse in refused.value.detail


async def test_what_would_not_travel_is_not_sealed_either(town: Town) -> None:
    with pytest.raises(Problem) as refused:
        await town.school.seal(*message(town.county, SECRET, type="commonroom.unknown.changed"))
    assert refused.value.code == "CR-042"


async def test_a_letter_sealed_for_somebody_else_is_refused_with_the_reason(town: Town) -> None:
    for recipient in (town.authority, town.warehouse):
        await recipient.publish_encryption_key()
    stranger = OKPKey.generate_key("X25519")
    receipt = await town.school.post(*sealing.seal(*message(town.county, SECRET), [stranger]))
    assert await town.authority.pull(wait=2) == []
    fates = (await town.school.track(receipt.message)).deliveries
    assert any("not encrypted to this end point's key" in (fate.reason or "") for fate in fates)


def test_a_sealed_body_is_bound_to_its_message_and_shows_every_change() -> None:
    key = OKPKey.generate_key("X25519")
    envelope = Envelope(id="1", source="s", type="t", datacontenttype="text/plain")
    outside, sealed = sealing.seal(envelope, SECRET, [key, OKPKey.generate_key("X25519")])
    inside, plain = sealing.unseal(outside, sealed, key)
    assert (plain, inside.datacontenttype) == (SECRET, "text/plain")
    with pytest.raises(Problem):
        sealing.unseal(msgspec.structs.replace(outside, id="2"), sealed, key)
    members = msgspec.json.decode(sealed)
    for member in ("protected", "iv", "ciphertext", "tag"):
        text = members[member]
        changed = {**members, member: text[:2] + ("A" if text[2] != "A" else "B") + text[3:]}
        with pytest.raises(Problem):
            sealing.unseal(outside, msgspec.json.encode(changed), key)


def test_a_body_of_a_megabyte_is_sealed_too() -> None:
    key = OKPKey.generate_key("X25519")
    envelope = Envelope(id="1", source="s", type="t")
    body = bytes(1_000_000)
    assert sealing.unseal(*sealing.seal(envelope, body, [key]), key)[1] == body
