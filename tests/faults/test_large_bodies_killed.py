"""kill -9 of the hub in the middle of a large upload and of its download: both go on and end bit for bit."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from commonroom.exchange import Client, digest_text
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import HubProcess, SmallCounty, enrolled_client, message, publish_small_county
from tests.waiting import until_async

MEGABYTE = 1024 * 1024
SECONDS = 120.0
RESULTS = Path(__file__).parents[2] / "test-results"


def _write_file(path: Path, size: int) -> bytes:
    """A file of that size that repeats nowhere; its SHA-256."""
    running = hashlib.sha256()
    chance = random.Random(size)
    with path.open("wb") as file:
        for _ in range(size // MEGABYTE):
            block = chance.randbytes(MEGABYTE)
            running.update(block)
            file.write(block)
    return running.digest()


def _digest_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


class Memory:
    """The most resident memory that the hub's processes have had, from /proc, looked at while a transfer runs."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub
        self.before = self.look()
        self.most = self.before
        self._task = asyncio.create_task(self._watch())

    def look(self) -> float:
        """Resident megabytes now."""
        assert self._hub.process is not None
        try:
            status = Path(f"/proc/{self._hub.process.pid}/status").read_text("ascii")
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        lines = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(lines[0].split()[1]) / 1024 if lines else 0.0  # a process that is being killed has none

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, self.look())
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Look no more."""
        self._task.cancel()


async def _ends(hub: HubProcess, pool: Any, folder: Path) -> tuple[SmallCounty, Client, Client]:
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, folder)
        school = await enrolled_client(connection, hub.url, county.school, folder)
        return county, school, await enrolled_client(connection, hub.url, county.warehouse, folder)


async def _restart(hub: HubProcess) -> None:
    await asyncio.to_thread(hub.kill)
    await asyncio.to_thread(hub.start)


async def _kill_when(path: Path, size: int, hub: HubProcess) -> int:
    """Kill and restart the hub once a file has grown to that size; how long it was then."""

    async def grown() -> int:
        return next((f.stat().st_size for f in path.parent.glob(path.name) if f.stat().st_size >= size), 0)

    reached = await until_async(grown, SECONDS * 10, f"{path.name} growing")
    await _restart(hub)
    return reached


async def _transfer(settings: Settings, pool: Any, folder: Path, megabytes: int) -> dict[str, Any]:
    """Send and fetch a file of that size with a kill in the middle of both; what was measured."""
    size = megabytes * MEGABYTE
    uploads = settings.data / "bodies" / "uploads"
    with HubProcess(settings_with(settings, lease_seconds=600, keep_free_bytes=0)) as hub:
        county, school, warehouse = await _ends(hub, pool, folder)
        async with school, warehouse:
            digest = await asyncio.to_thread(_write_file, folder / "in", size)
            memory = Memory(hub)
            began = time.monotonic()
            sending = asyncio.create_task(school.post_file(message(county)[0], folder / "in"))
            cut_upload = await _kill_when(uploads / "*-*-*-*-*", size // 3, hub)
            receipt = await sending
            sent = time.monotonic()
            [letter] = await warehouse.pull(1, 5)
            assert letter.stored is not None
            assert letter.stored.digest == digest_text(digest)
            fetching = asyncio.create_task(warehouse.fetch_body(letter, folder / "out"))
            cut_download = await _kill_when(folder / "out.*.part", size // 3, hub)
            await fetching
            fetched = time.monotonic()
            memory.stop()
            assert await asyncio.to_thread(_digest_of, folder / "out") == digest
            assert (await warehouse.acknowledge([letter.delivery])).ignored == []
            assert (await school.track(receipt.message)).size == size
    assert 0 < cut_upload < size
    assert 0 < cut_download < size
    assert not list(uploads.iterdir())
    return {
        "megabytes": megabytes,
        "hub_rss_before_mb": round(memory.before, 1),
        "hub_rss_most_mb": round(memory.most, 1),
        "upload_cut_at_mb": cut_upload // MEGABYTE,
        "download_cut_at_mb": cut_download // MEGABYTE,
        "upload_seconds": round(sent - began, 1),
        "download_seconds": round(fetched - sent, 1),
    }


async def test_a_kill_in_the_middle_of_an_upload_and_of_a_download_costs_nothing_that_was_there(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    print(await _transfer(settings, pool, tmp_path, 40))
    assert await pool.fetchval("SELECT count(*) FROM hub.message") == 1
    assert await pool.fetchval("SELECT body IS NULL FROM hub.body")


async def test_a_disk_that_runs_full_is_said_and_what_came_before_is_kept(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    """The kernel refuses to write more than 4 MB to a file of the hub's, then allows it."""
    with HubProcess(settings_with(settings, keep_free_bytes=0)) as hub:
        county, school, _ = await _ends(hub, pool, tmp_path)
        assert hub.process is not None
        async with school:
            await asyncio.to_thread(_write_file, tmp_path / "in", 8 * MEGABYTE)
            hard = resource.RLIM_INFINITY
            resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, (4 * MEGABYTE, hard))
            sending = asyncio.create_task(school.post_file(message(county)[0], tmp_path / "in"))
            uploads = settings.data / "bodies" / "uploads"

            async def stuck() -> bool:
                return any(part.stat().st_size == 4 * MEGABYTE for part in uploads.iterdir())

            await until_async(stuck, SECONDS, "the upload reaching the limit")

            async def refused() -> bool:
                page = await school._http.get(f"{hub.url}/metrics")
                return 'hub_problems_total{code="CR-164"}' in page.text

            await until_async(refused, SECONDS, "the hub answering 507")
            assert not sending.done()
            resource.prlimit(hub.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            assert (await sending).repeated is False


@pytest.mark.soak
async def test_five_gigabytes_go_through_with_a_kill_each_way_and_little_memory(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    """COMMONROOM_SOAK_MEGABYTES makes it smaller where the disk is."""
    found = await _transfer(
        settings, pool, tmp_path, int(os.environ.get("COMMONROOM_SOAK_MEGABYTES", "5120"))
    )
    print(json.dumps(found))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "large_bodies.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    assert found["hub_rss_most_mb"] < 100
