"""Large bodies: uploads that go on after a cut, one file for one content, and nobody else's body for anybody."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from commonroom.engines import clock
from commonroom.exchange import Client, Receipt, UploadState, digest_text, record_set_of
from commonroom.hub import bodies, retention
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import enrolled_client, hub_here, message, publish_small_county
from tests.unit.hub.conftest import Town

PAGE = Path(__file__).parents[3] / "docs" / "hub.md"
BODY = random.Random(8).randbytes(3_000_000)
DIGEST = digest_text(hashlib.sha256(BODY).digest())


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    """Room on small disks, small quotas, no grace."""
    return settings_with(
        settings,
        keep_free_bytes=0,
        body_grace_seconds=0,
        max_uploads=3,
        max_uploads_bytes=20_000_000,
        max_large_body_bytes=10_000_000,
        max_body_bytes=1_000_000,
    )


class Raw:
    """Requests of one end point as they are, with no client to do them right."""

    def __init__(self, url: str, client: Client, http: httpx2.AsyncClient) -> None:
        self.url, self._client, self._http = url, client, http

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        token = await self._client._current_token()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._http.request(
            method, self.url + path, content=body, headers={"authorization": f"Bearer {token}", **named}
        )

    async def begin(self, size: int = len(BODY), digest: str = DIGEST) -> httpx2.Response:
        """POST /uploads."""
        return await self(
            "POST",
            "/uploads",
            msgspec.json.encode({"size": size, "digest": digest}),
            content_type="application/json",
        )


@pytest.fixture
async def raw(town: Town) -> AsyncIterator[Raw]:
    """The first school, by hand."""
    async with httpx2.AsyncClient() as http:
        yield Raw(town.url, town.school, http)


@pytest.fixture
async def stranger(town: Town) -> AsyncIterator[Raw]:
    """The other school, by hand."""
    async with httpx2.AsyncClient() as http:
        yield Raw(town.url, town.other_school, http)


def _code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def _files(town: Town) -> list[Path]:
    return [path for path in (town.settings.data / "bodies").rglob("*") if path.is_file()]


async def _posted(town: Town, path: Path, **changes: Any) -> Receipt:
    path.write_bytes(BODY)
    envelope, _ = message(town.county, **changes)
    return await town.school.post_file(envelope, path)


async def test_a_file_sent_is_the_file_fetched_and_the_letter_says_where(town: Town, tmp_path: Path) -> None:
    receipt = await _posted(town, tmp_path / "in")
    [letter] = await town.warehouse.pull(wait=0)
    assert letter.body == b""
    assert letter.stored is not None
    assert (letter.stored.size, letter.stored.digest) == (len(BODY), DIGEST)
    assert letter.stored.location == f"/messages/{receipt.message}/body"
    assert letter.envelope.bodydigest == DIGEST
    await town.warehouse.fetch_body(letter, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == BODY
    assert not list(tmp_path.glob("*.part"))
    assert (await town.school.track(receipt.message)).size == len(BODY)


async def test_small_files_travel_in_the_message_as_before(town: Town, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"small")
    await town.school.post_file(message(town.county)[0], tmp_path / "in")
    [letter] = await town.warehouse.pull(wait=0)
    assert (letter.body, letter.stored) == (b"small", None)
    await town.warehouse.fetch_body(letter, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"small"
    assert not _files(town)


async def test_the_same_message_again_gives_the_first_receipt_even_when_its_upload_is_gone(
    town: Town, tmp_path: Path
) -> None:
    envelope, _ = message(town.county)
    first = await _posted(town, tmp_path / "in", id=envelope.id)
    await town.pool.execute("DELETE FROM hub.upload")
    again = await _posted(town, tmp_path / "in", id=envelope.id)
    assert (again.message, again.repeated) == (first.message, True)
    (tmp_path / "in").write_bytes(BODY[::-1])
    with pytest.raises(Problem) as other:
        await town.school.post_file(message(town.county, id=envelope.id)[0], tmp_path / "in")
    assert other.value.code == "CR-045"


async def test_an_upload_goes_on_where_it_was_cut_and_asking_again_gives_the_same_one(
    town: Town, raw: Raw
) -> None:
    begun = await raw.begin()
    assert begun.status_code == 201
    place = begun.headers["location"]

    async def cut() -> AsyncIterator[bytes]:
        yield BODY[:1_500_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await raw("PUT", place, cut(), content_length=str(len(BODY)))
    here = 0
    while here < 1_400_000:  # what the socket held when it was cut may be lost
        here = int((await raw("HEAD", place)).headers["upload-offset"])
    assert here <= 1_500_000
    again = (await raw.begin()).json()
    assert again["id"] == begun.json()["id"]
    while (answer := await raw("PUT", place, BODY[here:], upload_offset=str(here))).status_code == 409:
        here = int((await raw("HEAD", place)).headers["upload-offset"])
    assert answer.json()["complete"] is True
    assert (await raw("GET", place)).json()["offset"] == len(BODY)


async def test_parts_must_follow_each_other_and_end_where_they_said(raw: Raw) -> None:
    place = (await raw.begin()).headers["location"]
    assert _code(await raw("PUT", place, BODY[5:9], content_range="bytes 5-8/3000000")) == (409, "CR-162")
    part = await raw("PUT", place, BODY[:10], content_range="bytes 0-9/3000000")
    assert (part.status_code, part.headers["upload-offset"]) == (200, "10")
    for wrong in ({"upload_offset": "0"}, {"upload_offset": "11"}, {}):
        refused = await raw("PUT", place, b"x", **wrong)
        assert _code(refused) == (409, "CR-162")
        assert refused.json()["offset"] == 10
    for unclear in ({"upload_offset": "-1"}, {"upload_offset": "1e3"}, {"content_range": "bytes */9"}):
        assert _code(await raw("PUT", place, b"x", **unclear)) == (400, "CR-050")
    assert _code(await raw("PUT", place, BODY, upload_offset="10")) == (413, "CR-161")

    async def unannounced() -> AsyncIterator[bytes]:
        yield BODY[10:]
        yield b"one more"

    assert _code(await raw("PUT", place, unannounced(), upload_offset="10")) == (413, "CR-161")
    assert (await raw("GET", place)).json()["complete"] is False


async def test_what_is_not_what_its_digest_says_is_thrown_away(town: Town, raw: Raw) -> None:
    place = (await raw.begin(4)).headers["location"]
    assert _code(await raw("PUT", place, b"tom!")) == (422, "CR-161")
    assert (await raw("GET", place)).status_code == 404
    assert not _files(town)


async def test_another_partys_upload_is_as_if_there_were_none(town: Town, raw: Raw, stranger: Raw) -> None:
    begun = (await raw.begin()).json()
    place = f"/uploads/{begun['id']}"
    for method in ("GET", "PUT", "DELETE"):
        assert _code(await stranger(method, place, b"x" if method == "PUT" else None)) == (404, "CR-160")
    assert (await stranger("HEAD", place)).status_code == 404
    assert (await raw("PUT", place, BODY)).json()["complete"] is True
    envelope, _ = message(
        town.county, source=town.county.other_school, bodyref=begun["id"], bodydigest=DIGEST
    )
    with pytest.raises(Problem) as refused:
        await town.other_school.post(envelope, b"")
    assert (refused.value.code, refused.value.status) == ("CR-160", 422)


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "%2e%2e", "..", "0" * 36, "x", "%00"])
async def test_no_name_from_outside_reaches_a_path(town: Town, raw: Raw, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await raw(method, f"/uploads/{name}", b"x" if method == "PUT" else None)).status_code in (
            404,
            405,
        )
        assert (await raw(method, f"/messages/{name}/body")).status_code in (404, 405)
    assert not _files(town)


@pytest.mark.parametrize(
    ("changes", "body", "code"),
    [
        ({"bodydigest": None}, b"", "CR-020"),
        ({}, b"and a body", "CR-021"),
        ({"bodydigest": digest_text(bytes(32))}, b"", "CR-160"),
        ({"bodyref": "../../etc/passwd"}, b"", "CR-020"),
    ],
)
async def test_a_message_names_a_complete_upload_of_its_own_and_its_digest(
    town: Town, raw: Raw, changes: dict[str, Any], body: bytes, code: str
) -> None:
    upload = (await raw.begin()).json()["id"]
    envelope, _ = message(town.county, **{"bodyref": upload, "bodydigest": DIGEST, **changes})
    with pytest.raises(Problem) as refused:
        await town.school.post(envelope, body)
    assert refused.value.code == code
    unfinished, _ = message(town.county, bodyref=upload, bodydigest=DIGEST)
    with pytest.raises(Problem) as refused:
        await town.school.post(unfinished, b"")
    assert refused.value.code == "CR-160"


async def test_uploads_of_the_same_content_at_once_share_one_file_until_no_message_needs_it(
    town: Town, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(BODY)
    sends = [
        client.post_file(message(town.county, source=source)[0], tmp_path / "in")
        for client, source in (
            (town.school, town.county.school),
            (town.other_school, town.county.other_school),
            (town.school, town.county.school),
        )
    ]
    receipts = await asyncio.gather(*sends)
    assert len({receipt.message for receipt in receipts}) == 3
    assert [path.name for path in _files(town)] == [hashlib.sha256(BODY).hexdigest()]
    await town.pool.execute("UPDATE hub.upload SET expires_at = clock_timestamp()")
    async with town.pool.acquire() as connection:
        await bodies.sweep(town.settings, connection)
        assert await connection.fetchval("SELECT count(*) FROM hub.upload") == 0
        assert len(_files(town)) == 1
        await connection.execute(
            "UPDATE hub.delivery SET state = 'acknowledged', finished_at = engines.domain_now()"
        )
        await clock.set_to(connection, town.settings, await clock.now(connection) + timedelta(days=31))
        await retention.purge(town.settings, connection)
        assert await connection.fetchval("SELECT count(*) FROM hub.stored_body") == 0
    assert not _files(town)


async def test_litter_of_a_crash_is_swept_after_its_time_and_nothing_else_is(town: Town, raw: Raw) -> None:
    place = (await raw.begin()).headers["location"]
    await raw("PUT", place, BODY[:100])
    folder = town.settings.data / "bodies"
    (folder / "ab").mkdir()
    content = folder / "ab" / ("ab" + "0" * 62)  # a crash before the row was written
    part = folder / "uploads" / "01900000-0000-7000-8000-000000000000"
    for litter in (content, part):
        litter.write_bytes(b"x")
    async with town.pool.acquire() as connection:
        await bodies.sweep(settings_with(town.settings, body_grace_seconds=60), connection)
        assert content.exists()
        assert part.exists()
        await bodies.sweep(town.settings, connection)
    assert not content.exists()
    assert not part.exists()
    assert (await raw("GET", place)).json()["offset"] == 100


async def test_only_the_sender_and_the_holder_of_the_lease_fetch_a_body_by_ranges(
    town: Town, raw: Raw, stranger: Raw, tmp_path: Path
) -> None:
    place = f"/messages/{(await _posted(town, tmp_path / 'in')).message}/body"
    assert (await stranger("GET", place)).status_code == 404
    warehouse = Raw(town.url, town.warehouse, raw._http)
    assert (await warehouse("GET", place)).status_code == 404  # not pulled yet
    [letter] = await town.warehouse.pull(wait=0)
    for asked, status, expected in (
        ("bytes=0-9", 206, BODY[:10]),
        ("bytes=2999990-", 206, BODY[-10:]),
        ("bytes=-10", 206, BODY[-10:]),
        ("bytes=10-99999999", 206, BODY[10:]),
        ("bytes=1-2,5-6", 200, BODY),
        ("records=1", 200, BODY),
    ):
        for reader in (raw, warehouse):
            answer = await reader("GET", place, range=asked)
            assert (answer.status_code, answer.content) == (status, expected)
            assert answer.headers["content-length"] == str(len(expected))
    assert _code(await raw("GET", place, range="bytes=3000000-")) == (416, "CR-050")
    await town.warehouse.acknowledge([letter.delivery])
    assert (await warehouse("GET", place)).status_code == 404
    await town.pool.execute("DELETE FROM hub.body")
    assert _code(await raw("GET", place)) == (410, "CR-005")


async def test_a_fetch_goes_on_from_its_part_file_and_a_wrong_part_is_never_given_the_name(
    town: Town, tmp_path: Path
) -> None:
    await _posted(town, tmp_path / "in")
    [letter] = await town.warehouse.pull(wait=0)
    name = hashlib.sha256(DIGEST.encode()).hexdigest()[:16]
    part = tmp_path / f"out.{name}.part"
    part.write_bytes(BODY[:1_000_000])
    await town.warehouse.fetch_body(letter, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == BODY
    part.write_bytes(b"!" * 1_000_000)
    with pytest.raises(Problem) as spoilt:
        await town.warehouse.fetch_body(letter, tmp_path / "out")
    assert spoilt.value.code == "CR-021"
    assert (tmp_path / "out").read_bytes() == BODY


async def test_a_party_has_so_many_uploads_open_and_so_many_bytes(raw: Raw, stranger: Raw) -> None:
    def digest(number: int) -> str:
        return digest_text(bytes([number]) * 32)

    assert _code(await raw.begin(10_000_001)) == (413, "CR-046")
    assert (await raw.begin(10_000_000, digest(1))).status_code == 201
    assert _code(await raw.begin(10_000_000 - 1 + 2, digest(2)))[0] == 413
    assert (await raw.begin(9_000_000, digest(2))).status_code == 201
    assert _code(await raw.begin(1_000_001, digest(3))) == (429, "CR-163")
    third = await raw.begin(1_000, digest(3))
    assert _code(await raw.begin(1, digest(4))) == (429, "CR-163")
    assert (await stranger.begin(1, digest(4))).status_code == 201
    assert (await raw("DELETE", third.headers["location"])).status_code == 204
    assert (await raw.begin(1, digest(4))).status_code == 201


@pytest.mark.parametrize("address", ["memory://bodies", "file"])
async def test_bodies_at_an_fsspec_address_go_through_the_same_doors(
    settings: Settings, pool: Any, tmp_path: Path, address: str
) -> None:
    address = f"file://{tmp_path / 'far'}" if address == "file" else address
    async with hub_here(settings_with(settings, body_store=address, keep_free_bytes=0)) as served:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            school = await enrolled_client(connection, served.hub_url, county.school, tmp_path)
            warehouse = await enrolled_client(connection, served.hub_url, county.warehouse, tmp_path)
        async with school, warehouse:
            (tmp_path / "in").write_bytes(BODY)
            await school.post_file(message(county)[0], tmp_path / "in")
            [letter] = await warehouse.pull(wait=0)
            await warehouse.fetch_body(letter, tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == BODY
        async with pool.acquire() as connection:
            await connection.execute("DELETE FROM hub.body")
            await connection.execute("UPDATE hub.upload SET expires_at = clock_timestamp()")
            await bodies.sweep(settings_with(served, body_grace_seconds=0), connection)
            store = bodies.open_store(served)
            with pytest.raises(FileNotFoundError):
                await asyncio.to_thread(store.open, hashlib.sha256(BODY).digest())
    assert not list((settings.data / "bodies").rglob("*-*"))


async def test_an_upload_that_would_fill_the_disk_is_refused_before_it_begins(
    town: Town, raw: Raw, tmp_path: Path
) -> None:
    there_is = shutil.disk_usage(tmp_path).free
    async with hub_here(settings_with(town.settings, keep_free_bytes=there_is * 2)) as careful:
        async with town.pool.acquire() as connection:
            school = await enrolled_client(connection, careful.hub_url, town.county.school, tmp_path)
        async with school:
            refused = await Raw(careful.hub_url, school, raw._http).begin()
    assert _code(refused) == (507, "CR-164")
    assert refused.headers["retry-after"]


async def test_bodies_come_with_their_letters_as_far_as_the_puller_has_room(
    town: Town, tmp_path: Path
) -> None:
    await town.school.post(*message(town.county, b"before"))
    for _ in range(2):
        await _posted(town, tmp_path / "in")
    room = len(BODY) * 3 // 2
    letters = await town.warehouse.pull(10, 0, bodies=room)
    assert [letter.body for letter in letters] == [b"before", BODY]
    assert all(letter.stored is None for letter in letters)
    await town.warehouse.acknowledge([letter.delivery for letter in letters])
    [waited] = await town.warehouse.pull(10, 0, bodies=room)
    assert (waited.body, waited.attempt) == (BODY, 2)
    await town.warehouse.release([waited.delivery])
    [too_large] = await town.warehouse.pull(10, 0, bodies=len(BODY) - 1)
    assert too_large.body == b""
    with pytest.raises(Problem, match="CR-024"):
        record_set_of(too_large)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
async def test_the_lines_on_the_page_upload_and_fetch(town: Town, tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").partition("## Large bodies")[2]
    upload, fetch = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[:2]
    (tmp_path / "big.zip").write_bytes(BODY)
    token = await town.school._current_token()
    await _shell(upload, tmp_path, HUB=town.url, token=token)
    state = msgspec.json.decode((tmp_path / "upload.json").read_bytes(), type=UploadState)
    assert state.complete
    envelope, _ = message(town.county, bodyref=state.id, bodydigest=DIGEST)
    receipt = await town.school.post(envelope, b"")
    location = f"/messages/{receipt.message}/body"
    (tmp_path / "fetched.zip").write_bytes(BODY[:1_000])
    await _shell(fetch, tmp_path, HUB=town.url, token=token, location=location)
    assert (tmp_path / "fetched.zip").read_bytes() == BODY


async def _shell(lines: str, folder: Path, **variables: str) -> None:
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-euc",
        lines,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0, output.decode()
