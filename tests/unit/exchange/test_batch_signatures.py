"""One signature for a batch: every message is right alone for ever, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey
from nacl.signing import VerifyKey

from commonroom import merkle
from commonroom.exchange import Envelope, keys, signatures
from commonroom.exchange.envelope import MAX_BATCH_ITEMS, MAX_HEADER_BYTES, BatchItem, digest_text
from commonroom.exchange.keys import base64url

PAGE = (Path(__file__).parents[3] / "docs" / "envelope.md").read_text("utf-8")
KEY = keys.signing_key(OKPKey.generate_key("Ed25519"))
OTHER_KEY = keys.signing_key(OKPKey.generate_key("Ed25519"))
Message = tuple[Envelope, bytes]


def public(key: keys.SigningKey) -> Ed25519PublicKey:
    private: Any = key.key.raw_value
    found: Ed25519PublicKey = private.public_key()
    return found


PUBLIC = public(KEY)


def messages(size: int, name: str = "m") -> list[Message]:
    return [
        (Envelope(id=f"{name}-{number}", source="urn:s", type="t", subject="about"), digest_of(str(number)))
        for number in range(size)
    ]


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def signed(given_: Sequence[Message], key: keys.SigningKey = KEY) -> list[Message]:
    envelopes = signatures.sign_batch(given_, key)
    return [(envelope, digest) for envelope, (_, digest) in zip(envelopes, given_, strict=True)]


def is_right(message: Message, key: Ed25519PublicKey = PUBLIC) -> bool:
    return signatures.is_right(*message, key)


def with_signature(message: Message, text: str) -> Message:
    return msgspec.structs.replace(message[0], signature=text), message[1]


def parts(message: Message) -> tuple[str, str, str]:
    """Header, signature and proof."""
    header, _, signature, proof = (message[0].signature or "").split(".")
    return header, signature, proof


def raw_proof(message: Message) -> bytes:
    raw = signatures._decoded(parts(message)[2])
    assert raw is not None
    return raw


def with_proof(message: Message, raw: bytes) -> Message:
    header, signature, _ = parts(message)
    return with_signature(message, f"{header}..{signature}.{base64url(raw)}")


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 8, 100, 257, 499, 500])
def test_every_message_of_a_batch_is_right_alone_however_it_travels(size: int) -> None:
    for envelope, digest in signed(messages(size)):
        assert is_right((envelope, digest))
        headers = envelope.to_headers()
        assert len(headers["ce-signature"]) <= 620 < MAX_HEADER_BYTES
        assert Envelope.from_headers(headers) == envelope
        item = msgspec.json.decode(msgspec.json.encode(envelope.to_batch_item(b"")), type=BatchItem)
        assert is_right((Envelope.from_batch_item(item)[0], digest))


def test_a_message_alone_is_signed_as_it_always_was() -> None:
    [(envelope, digest)] = messages(1)
    alone = signatures.sign(envelope, digest, KEY)
    assert signatures.sign_batch([(envelope, digest)], KEY) == [alone]
    assert (alone.signature or "").count(".") == 2
    header = signatures._decoded((alone.signature or "").split(".")[0])
    assert header is not None
    assert msgspec.json.decode(header) == {"alg": "Ed25519", "kid": KEY.kid}


def test_all_messages_of_a_batch_carry_one_jws_that_any_library_verifies() -> None:
    batch = signed(messages(5))
    jwss = {(envelope.signature or "").rpartition(".")[0] for envelope, _ in batch}
    assert len(jwss) == 1
    leaves = [merkle.leaf_hash(signatures.canonical(*message)) for message in batch]
    root = digest_text(merkle.root_of(leaves))
    payload = f"commonroom-batch-1\nsize:5\nroot:{root}\n".encode()
    found = jws.deserialize_compact(jwss.pop().encode(), KEY.key, algorithms=["Ed25519"], payload=payload)
    assert found.headers() == {"alg": "Ed25519", "kid": KEY.kid, "typ": "commonroom-batch-1"}


def test_more_messages_than_a_batch_may_hold_are_more_trees() -> None:
    many = signed(messages(MAX_BATCH_ITEMS + 1))
    assert all(is_right(message) for message in many)
    assert len({parts(message)[1] for message in many}) == 2


SIZES = st.integers(2, 40)


@given(st.data(), SIZES)
@settings(max_examples=400, deadline=None)
def test_any_flipped_bit_of_the_signature_attribute_is_refused(data: st.DataObject, size: int) -> None:
    message = data.draw(st.sampled_from(signed(messages(size))))
    text = message[0].signature or ""
    place, bit = data.draw(st.integers(0, len(text) - 1)), data.draw(st.integers(0, 7))
    changed = text[:place] + chr(ord(text[place]) ^ (1 << bit)) + text[place + 1 :]
    assert not is_right(with_signature(message, changed))


@given(st.data(), SIZES)
@settings(max_examples=400, deadline=None)
def test_any_flipped_bit_of_size_place_or_path_is_refused(data: st.DataObject, size: int) -> None:
    message = data.draw(st.sampled_from(signed(messages(size))))
    raw = bytearray(raw_proof(message))
    bit = data.draw(st.integers(0, 31) | st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << (bit % 8)
    assert not is_right(with_proof(message, bytes(raw)))


@given(st.data(), SIZES)
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_of_the_digest_or_the_jws_signature_is_refused(
    data: st.DataObject, size: int
) -> None:
    envelope, digest = message = data.draw(st.sampled_from(signed(messages(size))))
    bit = data.draw(st.integers(0, 255))
    changed = (int.from_bytes(digest, "big") ^ (1 << bit)).to_bytes(32, "big")
    assert not is_right((envelope, changed))
    header, signature, proof = parts(message)
    raw = signatures._decoded(signature)
    assert raw is not None
    bit = data.draw(st.integers(0, 511))
    forged = base64url((int.from_bytes(raw, "big") ^ (1 << bit)).to_bytes(64, "big"))
    assert not is_right(with_signature(message, f"{header}..{forged}.{proof}"))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "another"},
        {"source": "urn:t"},
        {"type": "u"},
        {"subject": "abouu"},
        {"subject": None},
        {"time": datetime(2026, 1, 31, tzinfo=UTC)},
        {"expirytime": datetime(2026, 1, 31, tzinfo=UTC)},
        {"recipient": "urn:r"},
        {"contentmode": "snapshot"},
        {"dataclassification": "public"},
        {"sequence": "1"},
        {"bodyref": "0190a000-0000-7000-8000-000000000001"},
    ],
)
def test_an_attribute_changed_added_or_taken_away_is_refused(change: dict[str, Any]) -> None:
    for envelope, digest in signed(messages(3)):
        assert not is_right((msgspec.structs.replace(envelope, **change), digest))


@given(st.data(), SIZES, SIZES)
@settings(max_examples=200, deadline=None)
def test_what_belongs_to_another_message_or_batch_is_refused(
    data: st.DataObject, size: int, other_size: int
) -> None:
    batch, others = signed(messages(size)), signed(messages(other_size, "n"))
    place = data.draw(st.integers(0, size - 1))
    message, stranger = batch[place], data.draw(st.sampled_from(others))
    neighbour = batch[data.draw(st.integers(0, size - 1).filter(lambda other: other != place))]
    header, signature, proof = parts(message)
    assert not is_right(with_signature(message, stranger[0].signature or ""))
    assert not is_right(with_signature(message, neighbour[0].signature or ""))
    assert not is_right(with_signature(message, f"{header}..{parts(stranger)[1]}.{proof}"))
    assert not is_right(with_signature(message, f"{header}..{signature}.{parts(stranger)[2]}"))
    assert not is_right(message, public(OTHER_KEY))


@given(st.data(), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_path_cut_short_or_made_longer_is_refused(data: st.DataObject, size: int) -> None:
    message = data.draw(st.sampled_from(signed(messages(size)) if size > 1 else _tree_of_one()))
    raw = raw_proof(message)
    assert is_right(message)
    assert not is_right(with_proof(message, raw + bytes(32)))
    for kept in range(len(raw)):
        assert not is_right(with_proof(message, raw[:kept]))


def _tree_of_one() -> list[Message]:
    """A batch may be so small, though we sign a message alone in the single form."""
    given_ = messages(1)
    return [(signatures._sign_tree(given_, KEY)[0], given_[0][1])]


def test_a_tree_larger_than_a_batch_is_refused() -> None:
    given_ = messages(MAX_BATCH_ITEMS + 1)
    envelopes = signatures._sign_tree(given_, KEY)
    assert not any(
        is_right((envelope, digest)) for envelope, (_, digest) in zip(envelopes, given_, strict=True)
    )


def test_neither_form_passes_for_the_other() -> None:
    batch, [(envelope, digest)] = signed(messages(2)), messages(1, "x")
    alone = signatures.sign(envelope, digest, KEY), digest
    header, signature, proof = parts(batch[0])
    assert not is_right(with_signature(batch[0], f"{header}..{signature}"))
    assert not is_right(with_signature(batch[0], f"{header}..{signature}."))
    assert not is_right(with_signature(alone, f"{alone[0].signature}."))
    assert not is_right(with_signature(alone, f"{alone[0].signature}.{base64url(bytes([0, 1, 0, 0]))}"))
    assert not is_right(with_signature(alone, f"{alone[0].signature}.{proof}"))


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"typ": "commonroom-batch-2"},
        {"typ": None},
        {"typ": "commonroom-batch-1", "crit": ["exp"]},
        {"typ": "commonroom-batch-1", "b64": False},
    ],
)
def test_a_batch_signed_under_any_other_header_is_refused(header: dict[str, Any]) -> None:
    [message] = _tree_of_one()
    assert with_header(message, {"typ": "commonroom-batch-1"}) == message
    assert not is_right(with_header(message, header))


def with_header(message: Message, more: dict[str, Any]) -> Message:
    """The message of a batch of one, rightly signed, but under this header."""
    text = base64url(msgspec.json.encode({"alg": "Ed25519", "kid": KEY.kid, **more}))
    root = merkle.leaf_hash(signatures.canonical(*message))
    private: Any = KEY.key.raw_value
    signature = private.sign(signatures._signed_bytes(text, signatures._batch_form(1, root)))
    return with_signature(message, f"{text}..{base64url(signature)}.{parts(message)[2]}")


def test_a_checker_verifies_once_for_a_batch_and_a_key_also_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    verify = VerifyKey.verify

    def counted(key: VerifyKey, text: bytes, signature: bytes) -> bytes:
        asked.append(bytes(key))
        return verify(key, text, signature)

    monkeypatch.setattr(VerifyKey, "verify", counted)
    one, two = signed(messages(100)), signed(messages(50, "n"), OTHER_KEY)
    checker, other = signatures.Checker(), public(OTHER_KEY)
    for message in one:
        assert checker.is_right(*message, PUBLIC)
        assert not checker.is_right(*message, other)
    for message in two:
        assert not checker.is_right(*message, PUBLIC)
        assert checker.is_right(*message, other)
    assert asked == [key.public_bytes_raw() for key in (PUBLIC, other, PUBLIC, other)]


def test_a_signature_of_another_length_is_refused() -> None:
    message = messages(1)[0]
    header, _, signature = (signatures.sign(*message, KEY).signature or "").split(".")
    raw = signatures._decoded(signature)
    assert raw is not None
    assert is_right(with_signature(message, f"{header}..{base64url(raw)}"))
    for wrong in (b"", raw[:-1], raw + b"!"):
        assert not is_right(with_signature(message, f"{header}..{base64url(wrong)}"))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_checker_says_of_a_mixed_batch_what_each_message_alone_deserves(data: st.DataObject) -> None:
    """Some signed alone, some in one of two batches, some changed afterwards, in any order."""
    pool = signed(messages(9)) + signed(messages(4, "n"))
    pool += [(signatures.sign(*message, KEY), message[1]) for message in messages(6, "o")]
    given_ = data.draw(st.permutations(pool))
    spoilt = data.draw(st.sets(st.integers(0, len(given_) - 1)))
    sent = [
        (msgspec.structs.replace(envelope, subject="changed") if number in spoilt else envelope, digest)
        for number, (envelope, digest) in enumerate(given_)
    ]
    checker = signatures.Checker()
    judged = [checker.is_right(*message, PUBLIC) for message in sent]
    assert judged == [number not in spoilt for number in range(len(given_))] == [is_right(m) for m in sent]


@given(
    st.datetimes(timezones=st.just(UTC)) | st.none(),
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=20),
)
def test_the_canonical_form_is_what_the_page_says(time: datetime | None, text: str) -> None:
    envelope = Envelope(id=text, source="s", type="t", time=time, partitionkey=text, signature="x")
    lines = {"id": text, "source": "s", "type": "t", "partitionkey": text, "specversion": "1.0"}
    lines["bodydigest"] = digest_text(digest_of("x"))
    if time is not None:
        lines["time"] = time.isoformat().replace("+00:00", "Z")
    plain = "commonroom-signature-1\n" + "".join(f"{name}:{lines[name]}\n" for name in sorted(lines))
    assert signatures.canonical(envelope, digest_of("x")) == plain.encode()


def test_the_batch_vector_on_the_page_is_right() -> None:
    vectors = re.findall(r"```text (?:batch )?vector\n(.*?)```", PAGE, re.DOTALL)
    private = json.loads(vectors[0].split("\n")[0])
    sent, leaves, form, expected = vectors[1].strip().split("\n\n")
    key = keys.signing_key(OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", **private}))
    lines = sent.split("\n")
    given_ = [
        (msgspec.convert(json.loads(attributes), Envelope), hashlib.sha256(base64.b64decode(body)).digest())
        for attributes, body in zip(lines[::2], lines[1::2], strict=True)
    ]
    batch = signed(given_, key)
    assert [merkle.leaf_hash(signatures.canonical(*message)).hex() for message in batch] == leaves.split("\n")
    stated = {signatures.statement(*message) for message in batch}
    assert [one.payload.decode() for one in stated if one] == [form + "\n"]
    assert [envelope.signature for envelope, _ in batch] == expected.split("\n")
    assert all(is_right(message, public(key)) for message in batch)
