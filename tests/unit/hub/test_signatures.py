"""The sender's signature at a real hub: what is not exactly as it was signed does not come in, and recipients can check."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from commonroom.exchange import Envelope, Refusal, encode_batch, keys, signatures
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.post import Submission
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import message
from tests.unit.hub.conftest import Town

PAGE = (Path(__file__).parents[3] / "docs" / "envelope.md").read_text("utf-8")


def signed(town: Town, body: bytes = b"letter", **changes: Any) -> tuple[Envelope, bytes]:
    envelope, body = message(town.county, body, **changes)
    return signatures.sign(envelope, hashlib.sha256(body).digest(), town.school._keys.file.current()), body


@pytest.fixture
async def http(town: Town) -> AsyncIterator[httpx2.AsyncClient]:
    token = await town.school._current_token()
    async with httpx2.AsyncClient(base_url=town.url, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


async def code_of(http: httpx2.AsyncClient, headers: dict[str, str], body: bytes) -> tuple[int, str]:
    answer = await http.post("/messages", headers=headers, content=body)
    return answer.status_code, answer.json().get("code", "")


def signed_together(town: Town, *bodies: bytes) -> list[tuple[Envelope, bytes]]:
    """New messages with one signature for all."""
    messages = [message(town.county, body) for body in bodies]
    digests = [(envelope, hashlib.sha256(body).digest()) for envelope, body in messages]
    envelopes = signatures.sign_batch(digests, town.school._keys.file.current())
    return list(zip(envelopes, bodies, strict=True))


async def post_batch(
    http: httpx2.AsyncClient, messages: list[tuple[Envelope, bytes]]
) -> list[dict[str, Any]]:
    headers = {"content-type": "application/cloudevents-batch+json"}
    answer = await http.post("/messages:batch", headers=headers, content=encode_batch(messages))
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def test_an_unsigned_message_is_refused_alone_and_in_a_batch(
    town: Town, http: httpx2.AsyncClient
) -> None:
    envelope, body = message(town.county)
    assert await code_of(http, envelope.to_headers(), body) == (403, "CR-156")
    headers = {"content-type": "application/cloudevents-batch+json"}
    batch = encode_batch([(envelope, body), signed(town)])
    results = (await http.post("/messages:batch", headers=headers, content=batch)).json()["results"]
    assert [result["status"] for result in results] == [403, 202]
    assert results[0]["problem"]["code"] == "CR-156"


async def test_a_signature_of_another_end_point_or_an_unregistered_key_is_refused(
    town: Town, http: httpx2.AsyncClient
) -> None:
    envelope, body = message(town.county)
    digest = hashlib.sha256(body).digest()
    others = (town.other_school._keys.file.current(), keys.signing_key(OKPKey.generate_key("Ed25519")))
    for key in others:
        forged = signatures.sign(envelope, digest, key)
        assert await code_of(http, forged.to_headers(), body) == (403, "CR-157")


@pytest.mark.parametrize(
    "header",
    ["ce-id", "ce-type", "ce-time", "ce-partitionkey", "ce-correlationid", "content-type", "ce-signature"],
)
async def test_one_flipped_bit_of_a_header_is_refused(
    town: Town, http: httpx2.AsyncClient, header: str
) -> None:
    """Every bit of the first, a middle and the last byte; what stays printable must not pass."""
    envelope, body = (
        signed(town, time=msgspec.convert("2026-01-31T09:00:00Z", Any), partitionkey="p", correlationid="c")
        if header != "ce-time"
        else signed(
            town, time=msgspec.json.decode(b'"2026-01-31T09:00:00Z"', type=__import__("datetime").datetime)
        )
    )
    headers = envelope.to_headers()
    value = headers[header]
    tried = 0
    for place in sorted({0, len(value) // 2, len(value) - 1}):
        for bit in range(7):
            flipped = chr(ord(value[place]) ^ (1 << bit))
            if not "!" <= flipped <= "~":
                continue
            changed = value[:place] + flipped + value[place + 1 :]
            status, code = await code_of(http, {**headers, header: changed}, body)
            if header == "ce-time" and status == 202:
                # RFC 3339 allows a small z: the same moment, and so the same message.
                assert changed.lower() == value.lower()
                continue
            assert (status, code) in {(403, "CR-157"), (400, "CR-020"), (403, "CR-042")}, changed
            tried += 1
    assert tried > 5
    assert (await code_of(http, headers, body))[0] == 202


async def test_one_flipped_bit_of_the_body_is_refused(town: Town, http: httpx2.AsyncClient) -> None:
    envelope, body = signed(town, b"the letter")
    for place in range(len(body)):
        changed = bytearray(body)
        changed[place] ^= 1 << (place % 8)
        assert await code_of(http, envelope.to_headers(), bytes(changed)) == (403, "CR-157")


async def test_a_batch_of_both_forms_is_taken_and_what_is_wrong_in_it_refused_alone(
    town: Town, http: httpx2.AsyncClient
) -> None:
    one, two, three = signed_together(town, b"one", b"two", b"three")
    four, five = signed_together(town, b"four", b"five")
    swapped = msgspec.structs.replace(five[0], signature=two[0].signature)
    sent = [
        one,
        signed(town, b"alone"),
        (two[0], b"owt"),
        message(town.county),
        three,
        (swapped, five[1]),
        four,
    ]
    results = await post_batch(http, sent)
    codes = [(result["status"], (result.get("problem") or {}).get("code")) for result in results]
    right, wrong = (202, None), (403, "CR-157")
    assert codes == [right, right, wrong, (403, "CR-156"), right, wrong, right]
    assert [result["status"] for result in await post_batch(http, [two, five])] == [202, 202]


async def test_a_message_signed_in_a_batch_is_taken_alone_too_and_every_changed_part_of_it_refused(
    town: Town, http: httpx2.AsyncClient
) -> None:
    [(envelope, body), *_] = signed_together(town, *(str(number).encode() for number in range(5)))
    headers = envelope.to_headers()
    header, _, signature, proof = headers["ce-signature"].split(".")
    raw = base64.urlsafe_b64decode(proof + "=" * (-len(proof) % 4))
    for place in (0, 1, 2, 3, 4, 35, 36, len(raw) - 1):  # size, place in the tree, hashes
        changed = bytearray(raw)
        changed[place] ^= 1
        text = f"{header}..{signature}.{keys.base64url(bytes(changed))}"
        assert await code_of(http, {**headers, "ce-signature": text}, body) == (403, "CR-157")
    assert await code_of(http, {**headers, "ce-subject": "added"}, body) == (403, "CR-157")
    assert await code_of(http, headers, body + b"!") == (403, "CR-157")
    too_long = f"{header}..{signature}.{keys.base64url(raw[:4] + bytes(320))}"
    assert await code_of(http, {**headers, "ce-signature": too_long}, body) == (400, "CR-020")
    assert (await code_of(http, headers, body))[0] == 202
    assert (await code_of(http, headers, body))[0] == 202  # again: the same receipt


async def test_a_message_sent_again_in_another_batch_is_the_same_message(
    town: Town, http: httpx2.AsyncClient
) -> None:
    messages = [message(town.county, str(number).encode()) for number in range(3)]
    first = await town.school.post_batch(messages)
    again = await town.school.post_batch(messages[1:])
    assert [fate.message for fate in again] == [fate.message for fate in first[1:]]  # type: ignore[union-attr]


async def test_a_header_added_or_taken_away_is_refused(town: Town, http: httpx2.AsyncClient) -> None:
    envelope, body = signed(town, subject="s")
    headers = envelope.to_headers()
    without = {name: value for name, value in headers.items() if name != "ce-subject"}
    assert await code_of(http, without, body) == (403, "CR-157")
    assert await code_of(http, {**headers, "ce-sequence": "1"}, body) == (403, "CR-157")


async def test_the_signature_reaches_the_recipient_unchanged_also_when_it_comes_again(town: Town) -> None:
    sent = [message(town.county, f"letter {number}".encode()) for number in range(20)]
    fates = await town.school.post_batch(sent)
    assert not any(isinstance(fate, Refusal) for fate in fates)
    first = await town.authority.pull(wait=5)
    await town.authority.release([letter.delivery for letter in first])
    again = await town.authority.pull(wait=5)
    assert len(again) == 20
    private: Any = town.school._keys.file.current().key.raw_value
    public = private.public_key()
    assert len({(letter.envelope.signature or "").rpartition(".")[0] for letter in again}) == 1
    for letter in (*first, *again):
        assert signatures.is_right(letter.envelope, hashlib.sha256(letter.body).digest(), public)
    assert [letter.envelope for letter in again] == [letter.envelope for letter in first]


async def test_a_recipient_that_verifies_gets_what_is_right_and_refuses_what_was_changed_in_the_hub(
    town: Town,
) -> None:
    receipts = await town.school.post_batch(
        [message(town.county, body) for body in (b"one", b"two", b"three")]
    )
    changed, altered = receipts[0].message, receipts[1].message  # type: ignore[union-attr]
    async with town.pool.acquire() as connection:
        sealed = MasterKeys(town.settings).seal(
            UUID(changed), b"eno"
        )  # by somebody who has the hub's keys too
        await connection.execute(
            "UPDATE hub.body SET body = $2, master = $3, wrapped = $4 "
            "WHERE message = (SELECT position FROM hub.message WHERE id = $1)",
            changed,
            sealed.body,
            sealed.master,
            sealed.wrapped,
        )
        await connection.execute(
            'UPDATE hub.message SET envelope = envelope || \'{"subject": "x"}\' WHERE id = $1', altered
        )
    town.warehouse._verify = True
    letters = await town.warehouse.pull(wait=5)
    assert [letter.body for letter in letters] == [b"three"]
    for refused in (changed, altered):
        tracking = await town.school.track(refused)
        fate = next(one for one in tracking.deliveries if one.recipient == town.county.warehouse)
        assert fate.state == "refused"
        assert "signature does not fit" in (fate.reason or "")


async def test_a_recipient_that_verifies_refuses_the_unsigned(town: Town, settings: Settings) -> None:
    """They get in only where the operator does not require signatures."""
    envelope, body = message(town.county)
    async with town.pool.acquire() as connection:
        receipt = await town.school.post(envelope, body)
        await connection.execute(
            "UPDATE hub.message SET envelope = envelope - 'signature' WHERE id = $1", receipt.message
        )
    town.warehouse._verify = True
    assert await town.warehouse.pull(wait=1) == []
    tracking = await town.school.track(receipt.message)
    assert any("no signature" in (one.reason or "") for one in tracking.deliveries)


async def test_the_directory_of_keys_lists_a_partys_keys_for_everybody_signed_in(
    town: Town, http: httpx2.AsyncClient
) -> None:
    found = await town.warehouse.keys_of(town.county.school)
    assert [key.kid for key in found.keys] == [town.school._keys.file.current().kid]
    assert (found.keys[0].use, found.keys[0].valid_until) == ("sig", None)
    async with httpx2.AsyncClient(base_url=town.url) as stranger:
        assert (await stranger.get(f"/keys?party={town.county.school}")).status_code == 401
    assert (await http.get("/keys?party=urn:commonroom:org:unknown")).status_code == 404


class TestWithoutDuty:
    """A hub whose operator does not require signatures."""

    @pytest.fixture
    def hub_settings(self, settings: Settings) -> Settings:
        return msgspec.structs.replace(settings, require_signatures=False)

    async def test_unsigned_comes_in_and_a_wrong_signature_still_does_not(
        self, town: Town, http: httpx2.AsyncClient
    ) -> None:
        envelope, body = message(town.county)
        assert (await code_of(http, envelope.to_headers(), body))[0] == 202
        wrong, body = signed(town)
        headers = {**wrong.to_headers(), "ce-subject": "added"}
        assert await code_of(http, headers, body) == (403, "CR-157")


TEXT = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=40,
)
ENVELOPES = st.builds(
    Envelope,
    id=TEXT,
    source=TEXT,
    type=TEXT,
    subject=st.none() | TEXT,
    recipient=st.none() | TEXT,
    partitionkey=st.none() | TEXT,
    dataclassification=st.sampled_from([None, "public", "restricted"]),
)
KEY = keys.signing_key(OKPKey.generate_key("Ed25519"))
PUBLIC: Any = OKPKey.import_key(dict(keys.public_jwk(KEY.key))).raw_value


@given(ENVELOPES, st.binary(max_size=50))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_signature_survives_headers_and_batches(envelope: Envelope, body: bytes) -> None:
    digest = hashlib.sha256(body).digest()
    sent = signatures.sign(envelope, digest, KEY)
    arrived = Envelope.from_headers(sent.to_headers())
    assert arrived == sent
    assert signatures.is_right(arrived, digest, PUBLIC)
    assert signatures.is_right(Envelope.from_batch_item(sent.to_batch_item(body))[0], digest, PUBLIC)


@given(ENVELOPES, ENVELOPES, st.binary(max_size=20), st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_two_messages_never_have_one_canonical_form(
    one: Envelope, other: Envelope, body: bytes, other_body: bytes
) -> None:
    first = signatures.canonical(one, hashlib.sha256(body).digest())
    second = signatures.canonical(other, hashlib.sha256(other_body).digest())
    assert (first == second) == ((one, body) == (other, other_body))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_of_the_signature_is_seen(data: st.DataObject) -> None:
    envelope = Envelope(id="1", source="s", type="t")
    digest = hashlib.sha256(b"").digest()
    text = signatures.sign(envelope, digest, KEY).signature or ""
    place = data.draw(st.integers(0, len(text) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = text[:place] + chr(ord(text[place]) ^ (1 << bit)) + text[place + 1 :]
    forged = msgspec.structs.replace(envelope, signature=changed)
    assert not signatures.is_right(forged, digest, PUBLIC)


def test_the_signature_is_a_detached_jws_that_any_library_verifies() -> None:
    digest = hashlib.sha256(b"x").digest()
    envelope = signatures.sign(Envelope(id="1", source="s", type="t"), digest, KEY)
    payload = signatures.canonical(envelope, digest)
    found = jws.deserialize_compact(
        (envelope.signature or "").encode(), KEY.key, algorithms=["Ed25519"], payload=payload
    )
    assert found.headers()["kid"] == KEY.key.thumbprint()


def test_the_test_vector_on_the_page_is_right() -> None:
    vector = re.search(r"```text vector\n(.*?)```", PAGE, re.DOTALL)
    assert vector is not None
    given_, form, signature = vector[1].split("\n\n")
    private, attributes, body = given_.split("\n")
    key = keys.signing_key(OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", **json.loads(private)}))
    envelope = msgspec.convert(json.loads(attributes), Envelope)
    digest = hashlib.sha256(base64.b64decode(body)).digest()
    assert signatures.canonical(envelope, digest).decode() == form + "\n"
    assert signatures.sign(envelope, digest, key).signature == signature.strip()


async def test_a_batch_is_judged_item_by_item_and_others_get_their_turns(town: Town) -> None:
    key = town.school._keys.file.current()
    submissions = []
    for number in range(120):
        envelope, body = message(town.county, str(number).encode())
        digest = hashlib.sha256(body if number % 3 else b"another").digest()
        ready = signatures.sign(envelope, digest, key)
        submissions.append(
            Submission(
                envelope=ready,
                body=body,
                digest=hashlib.sha256(body).digest(),
                party=town.county.school,
                end_point=town.school.end_point,
            )
        )
    from commonroom.hub.signatures import Signatures
    from commonroom.identity import EndedKeys

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    door = Signatures(town.pool, EndedKeys(), True)
    await door.judge(submissions[:1])  # remembers the key, so that the database gives nobody a turn below
    task = asyncio.create_task(others())
    judged = await door.judge(submissions)
    task.cancel()
    assert [isinstance(problem, Problem) for problem in judged] == [not number % 3 for number in range(120)]
    assert turns >= 2  # 120 signatures take longer than two turns on any machine
