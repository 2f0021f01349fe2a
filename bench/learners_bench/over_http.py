"""Look-ups over HTTP: a portal process as `serve` runs it, asked by a college's system with the token of its end point."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
from hub_bench.client import Http, connections, encoded
from joserfc.jwk import OKPKey

from commonroom import identity
from commonroom.engines.database import connect
from commonroom.exchange import keys
from commonroom.hub import Party, publish
from commonroom.ids import org_urn, uuid7
from commonroom.registers.learners.matching import Details
from commonroom.settings import Settings

HUB = "https://hub.example"
START_SECONDS = 60.0
NO_BRAKE = 1_000_000


async def measured(
    settings: Settings, queries: Sequence[Details], clients: int, seconds: float
) -> tuple[float, list[float], dict[int, int]]:
    """Answers a second, the seconds that each took, and how many there were of each status."""
    token = await _token(settings)
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "x-purpose": "enrolment",
    }
    requests = [encoded("POST", "/api/learners/find", headers, _body(query)) for query in queries]
    async with _portal(settings) as url, connections(url, clients) as http:
        await _asked(http, requests, clients, 1)  # plans, caches and name counts get warm
        began = time.perf_counter()
        taken, statuses = await _asked(http, requests, clients, seconds)
        return len(taken) / (time.perf_counter() - began), taken, statuses


async def _asked(
    http: Http, requests: Sequence[bytes], clients: int, seconds: float
) -> tuple[list[float], dict[int, int]]:
    taken, statuses = list[float](), dict[int, int]()
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        place = number
        while (began := time.perf_counter()) < until:
            status, _ = await http.ask(requests[place % len(requests)])
            taken.append(time.perf_counter() - began)
            statuses[status] = statuses.get(status, 0) + 1
            place += clients

    await asyncio.gather(*map(client, range(clients)))
    return taken, statuses


def _body(query: Details) -> bytes:
    given = {name: value for name in query.__struct_fields__ if (value := getattr(query, name))}
    return msgspec.json.encode({"kind": "full", **given})


async def _token(settings: Settings) -> str:
    party, key = org_urn(uuid7()), OKPKey.generate_key("Ed25519")
    conn = await connect(settings)
    try:
        await publish(conn, [Party(party, "A college", ("college",))], [], [])
        code = await identity.issue_enrolment_code(conn, party, "bench", timedelta(hours=1))
        end_point = await identity.enrol(conn, code, keys.public_jwk(key), "its system")
        given = await identity.Tokens(settings).exchange_assertion(
            conn, keys.sign_assertion(key, end_point.id, HUB), HUB
        )
    finally:
        await conn.close()
    return given.access_token


@asynccontextmanager
async def _portal(settings: Settings) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "COMMONROOM_DATABASE": str(settings.database),
        "COMMONROOM_PORTAL_PORT": str(port),
        "COMMONROOM_LEARNER_LOOK_UPS_A_MINUTE": str(NO_BRAKE),
    }
    command = [sys.executable, "-m", "commonroom", "run", "portal", "--data", str(settings.data)]
    process = await asyncio.to_thread(subprocess.Popen, command, env=environment)
    try:
        await _until_it_answers(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def _until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    asking: Any = encoded("GET", "/api/learners/openapi.json", {})
    until = time.monotonic() + START_SECONDS
    async with connections(f"http://127.0.0.1:{port}", 1) as http:
        while time.monotonic() < until and process.poll() is None:
            try:
                if (await http.ask(asking))[0] == 200:
                    return
            except OSError:
                await asyncio.sleep(0.1)
    raise RuntimeError("the portal does not answer")
