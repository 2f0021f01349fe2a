"""Large bodies at rest: only sealed blocks lie in the store, from the first byte of an upload to the last download."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as some

from commonroom.exchange import Unreachable, UploadRequest, digest_text
from commonroom.hub.body_store import BodyStore, open_store
from commonroom.hub.ledger_check import verify_database
from commonroom.hub.master_keys import MasterKeys, rotate
from commonroom.hub.sealed_files import BLOCK_BYTES, SEALED_BYTES, Appender, Cipher, Reader, plain_size
from commonroom.problems import Problem
from tests.hub_server import message
from tests.unit.hub.conftest import Town

KEY = bytes(range(32))
SECRET = b"Amira's report. " * 100_000  # 1.6 MB, so two blocks
DIGEST = hashlib.sha256(SECRET).digest()
ABOUT = b"its digest"


def _append(path: Path, data: bytes, key: bytes = KEY) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        part = Appender(handle, Cipher(key, ABOUT))
        part.add(data)
        part.flush()
        return part.size
    finally:
        os.close(handle)


def _read(path: Path, first: int, length: int, key: bytes = KEY) -> bytes:
    reader = Reader(path.open("rb", buffering=0), Cipher(key, ABOUT))
    reader.seek(first)
    found = b""
    while len(found) < length and (more := reader.read(length - len(found))):
        found += more
    reader.close()
    return found


@given(
    sizes=some.lists(some.sampled_from([1, 700, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1]), max_size=4),
    place=some.floats(0, 1),
    length=some.integers(1, 2 * BLOCK_BYTES),
)
def test_however_it_comes_and_whatever_range_is_asked_the_bytes_are_those(
    sizes: list[int], place: float, length: int
) -> None:
    body = random.Random(str(sizes)).randbytes(sum(sizes))
    with tempfile.TemporaryDirectory() as folder:
        path, here = Path(folder) / "part", 0
        for size in sizes:
            here += size
            assert _append(path, body[here - size : here]) == here
            assert plain_size(path.stat().st_size) == here
        if body:
            first = int(place * len(body))
            assert _read(path, first, length) == body[first : first + length]


@pytest.mark.parametrize("torn", [1, 28, 29, 5_000, SEALED_BYTES - 1])
def test_a_block_torn_by_a_crash_is_dropped_and_the_whole_ones_stay(tmp_path: Path, torn: int) -> None:
    path, body = tmp_path / "part", random.Random(torn).randbytes(2 * BLOCK_BYTES)
    _append(path, body)
    with path.open("r+b") as file:
        file.truncate(SEALED_BYTES + torn)
    assert _append(path, b"") == BLOCK_BYTES
    assert _append(path, body[BLOCK_BYTES:]) == len(body)
    assert _read(path, 0, len(body)) == body


def test_a_block_opens_at_its_own_place_in_its_own_content_alone() -> None:
    sealed = Cipher(KEY, ABOUT).seal(3, b"text")
    assert Cipher(KEY, ABOUT).open(3, sealed) == b"text"
    for other, number in (
        (Cipher(KEY, ABOUT), 4),
        (Cipher(KEY, b"another"), 3),
        (Cipher(bytes(32), ABOUT), 3),
    ):
        with pytest.raises(InvalidTag):
            other.open(number, sealed)


async def _fetched(town: Town, path: Path) -> bytes:
    [letter] = await town.warehouse.pull(wait=0)
    await town.warehouse.fetch_body(letter, path, patience=0.5)
    return path.read_bytes()


@pytest.fixture
async def stored(town: Town, tmp_path: Path) -> Path:
    """The file in the store of a letter with a large body."""
    (tmp_path / "in").write_bytes(SECRET)
    await town.school.post_file(message(town.county)[0], tmp_path / "in")
    [file] = _files(town)
    return file


def _files(town: Town) -> list[Path]:
    return [path for path in (town.settings.data / "bodies").rglob("*") if path.is_file()]


async def test_neither_a_half_upload_nor_a_stored_file_shows_a_word(town: Town, tmp_path: Path) -> None:
    state = await town.school.announce(UploadRequest(size=len(SECRET), digest=digest_text(DIGEST)))

    async def first_words() -> AsyncIterator[bytes]:
        yield SECRET[:1_000]

    state = await town.school.put_part(state.id, 0, 1_000, first_words)
    assert state.offset == 1_000
    [part] = _files(town)
    assert b"Amira" not in part.read_bytes()
    (tmp_path / "in").write_bytes(SECRET)
    await town.school.post_file(message(town.county)[0], tmp_path / "in")
    [file] = _files(town)
    assert b"Amira" not in file.read_bytes()
    assert await _fetched(town, tmp_path / "out") == SECRET


async def test_a_content_sent_by_two_lies_once_and_opens_for_both(
    town: Town, stored: Path, tmp_path: Path
) -> None:
    kept = stored.read_bytes()
    (tmp_path / "again").write_bytes(SECRET)
    envelope, _ = message(town.county, source=town.county.other_school)
    await town.other_school.post_file(envelope, tmp_path / "again")
    assert _files(town) == [stored]
    assert stored.read_bytes() == kept
    for number, letter in enumerate(await town.warehouse.pull(10, 0)):
        await town.warehouse.fetch_body(letter, tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}").read_bytes() == SECRET
    assert number == 1


async def test_litter_of_a_crash_under_a_lost_key_gives_way(town: Town, tmp_path: Path) -> None:
    litter = town.settings.data / "bodies" / DIGEST.hex()[:2] / DIGEST.hex()
    litter.parent.mkdir()
    litter.write_bytes(b"of a crash before the row was written")
    (tmp_path / "in").write_bytes(SECRET)
    await town.school.post_file(message(town.county)[0], tmp_path / "in")
    assert await _fetched(town, tmp_path / "out") == SECRET


async def test_a_changed_byte_is_handed_to_nobody_and_found_by_the_ledgers_check(
    town: Town, stored: Path, tmp_path: Path
) -> None:
    keys = MasterKeys(town.settings)
    async with town.pool.acquire() as connection:
        assert (await verify_database(connection, store=_store(town), master_keys=keys)).faults == []
    text = bytearray(stored.read_bytes())
    text[SEALED_BYTES + 100] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(text)
    with pytest.raises((Unreachable, Problem)):
        await _fetched(town, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    async with town.pool.acquire() as connection:
        [fault] = (await verify_database(connection, store=_store(town), master_keys=keys)).faults
    assert "changed where it is stored" in fault


async def test_a_new_master_key_wraps_the_keys_of_files_too(town: Town, stored: Path, tmp_path: Path) -> None:
    before = stored.read_bytes()
    old = set(await _masters(town))
    async with town.pool.acquire() as connection:
        done = await rotate(town.settings, connection)
    assert (done.rewrapped, done.unreadable, done.unreadable_files) == (
        2,
        (),
        (),
    )  # the content's and the upload's
    assert old.isdisjoint(await _masters(town))
    assert stored.read_bytes() == before
    assert await _fetched(town, tmp_path / "out") == SECRET


async def _masters(town: Town) -> list[str]:
    rows = await town.pool.fetch("SELECT master FROM hub.stored_body UNION ALL SELECT master FROM hub.upload")
    return [row["master"] for row in rows]


def _store(town: Town) -> BodyStore:
    return open_store(town.settings)
