"""A real hub for tests: the real application under uvicorn on a free port, with real end points that have enrolled.

`hub_here(settings)` serves in the test's own event loop, `HubProcess` in a process of its own that can be killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil

from commonroom import exchange
from commonroom.hub import Alias, Party, Relation, assurance, load_movements, publish
from commonroom.hub.server import HubServer, make_server
from commonroom.identity import issue_enrolment_code
from commonroom.ids import org_urn, uuid7
from commonroom.settings import Settings
from tests.waiting import until

START_SECONDS = 20.0


class _ServerHere(HubServer):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def hub_here(settings: Settings) -> AsyncIterator[Settings]:
    """Serve a hub in this event loop; gives the settings with the port it got (`.hub_url`)."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = msgspec.structs.replace(settings, hub_port=listener.getsockname()[1])
    server = _ServerHere(make_server(served).config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(START_SECONDS):
            while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has a flag, no event
                await asyncio.sleep(0.01)
        yield served
    finally:
        server.should_exit = True
        await task


class HubProcess:
    """A hub in a process of its own: `start`, `stop` (SIGTERM), `kill` (SIGKILL), and `start` again on the same port."""

    def __init__(
        self, settings: Settings, port: int | None = None, *, start_seconds: float = START_SECONDS
    ) -> None:
        self._start_seconds = start_seconds
        self.settings = msgspec.structs.replace(settings, hub_port=port or free_port())
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return self.settings.hub_url

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        environment = {**os.environ, "COMMONROOM_DATA": str(self.settings.data), **_variables(self.settings)}
        self.process = subprocess.Popen([sys.executable, "-m", "commonroom.hub"], env=environment)
        until(self.healthy, self._start_seconds, "the hub being healthy")

    def healthy(self) -> bool:
        """Whether it answers; fails at once when the process has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"the hub ended with {self.process.returncode}"
        if self.settings.hub_processes > 1 and not self._listens():
            return False  # another process may answer on the port that they share
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _listens(self) -> bool:
        assert self.process is not None
        sockets = psutil.Process(self.process.pid).net_connections("tcp")
        return any(one.status == psutil.CONN_LISTEN for one in sockets)

    def stop(self) -> int:
        """End it politely; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """kill -9."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(START_SECONDS)

    def __enter__(self) -> HubProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()


def _variables(settings: Settings) -> dict[str, str]:
    given = {field: getattr(settings, field) for field in Settings.__struct_fields__ if field != "data"}
    return {f"COMMONROOM_{name.upper()}": str(value) for name, value in given.items() if value is not None}


async def enrolled_client(
    connection: Any, hub_url: str, party: str, folder: Path, name: str = "test end point"
) -> exchange.Client:
    """A new end point of this party, enrolled by code with a key of its own. Close it, or use it as a context."""
    code = await issue_enrolment_code(connection, party, "test", timedelta(hours=1))
    key_file = folder / f"{uuid7()}.pem"
    enrolment = await exchange.enrol(hub_url, code, key_file, name)
    return exchange.Client(hub_url, key_file, enrolment.end_point)


class SmallCounty(msgspec.Struct, frozen=True):
    """Two schools, their local authority, a trust of one of them, and the warehouse: party urns."""

    school: str
    other_school: str
    authority: str
    trust: str
    warehouse: str


SCHOOL_ALIAS = "urn:commonroom:alias:urn:990001"
OTHER_SCHOOL_ALIAS = "urn:commonroom:alias:urn:990002"
WAREHOUSE_ALIAS = "urn:commonroom:alias:platform:warehouse"

MOVEMENTS = """
movements:
  - id: attendance
    title: Attendance marks
    from: {kind: school}
    to: [its local authority, the department's warehouse]
    types: [commonroom.attendance_mark.changed]
    purpose: To see absence as it happens
    legal_basis: Invented for tests
    content: Marks of pupils on roll
    frequency: {how: on_change}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
  - id: transfers
    title: Pupils who change school
    from: {kind: school}
    to: [the addressed school]
    types: [commonroom.transfer.sent]
    purpose: The record is there on the day the pupil arrives
    legal_basis: Invented for tests
    content: One pupil
    frequency: {how: on_change}
    classification: restricted
    retention_days: "90"
    active_from: 2020-01-01
  - id: ended
    title: A movement that has ended
    from: {kind: school}
    to: [the department's warehouse]
    types: [commonroom.ended.changed]
    purpose: To be refused
    legal_basis: Invented for tests
    content: Nothing
    frequency: {how: on_change}
    classification: internal
    retention_days: "30"
    active_from: 2020-01-01
    active_to: 2021-01-01
"""


async def publish_small_county(connection: Any, folder: Path, movements: str = MOVEMENTS) -> SmallCounty:
    """Publish the small county's directory and load its movements."""
    county = SmallCounty(*(org_urn(uuid7()) for _ in SmallCounty.__struct_fields__))
    relations: Sequence[Relation] = [
        Relation(county.school, "its local authority", county.authority),
        Relation(county.other_school, "its local authority", county.authority),
        Relation(county.other_school, "its academy trust", county.trust),
        Relation(None, "the department's warehouse", county.warehouse),
    ]
    await publish(
        connection,
        [
            Party(county.school, "First School", ("school",)),
            Party(county.other_school, "Second School", ("school",)),
            Party(county.authority, "Westmarch", ("local authority",)),
            Party(county.trust, "A Trust", ("academy trust",)),
            Party(county.warehouse, "The Warehouse", ("platform",)),
        ],
        [
            Alias(SCHOOL_ALIAS, county.school),
            Alias(OTHER_SCHOOL_ALIAS, county.other_school),
            Alias(WAREHOUSE_ALIAS, county.warehouse),
        ],
        relations,
    )
    await assure_everybody(connection)
    file = folder / "movements.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(movements, "utf-8")
    await load_movements(connection, file)
    return county


async def assure_everybody(connection: Any, level: str = "restricted") -> None:
    """Evidence of protection for every party in the directory that has none."""
    parties = [row["urn"] for row in await connection.fetch("SELECT urn FROM hub.party")]
    await assurance.record(
        connection,
        parties,
        level,
        kind="test",
        reference="tests/hub_server.py",
        valid_from=date(2000, 1, 1),
        valid_to=date(2199, 12, 31),
        by="test",
        where_none=True,
    )


def message(county: SmallCounty, body: bytes = b"letter", **changes: Any) -> tuple[exchange.Envelope, bytes]:
    """An attendance message of the first school, with some of the envelope changed."""
    values: dict[str, Any] = {
        "id": str(uuid7()),
        "source": county.school,
        "type": "commonroom.attendance_mark.changed",
        "datacontenttype": "application/octet-stream",
    }
    return exchange.Envelope(**{**values, **changes}), body
