"""The peer: NHS England's `mesh-sandbox` from PyPI, as its README runs it (one uvicorn worker), in memory, with its
own sign-in (an HMAC of the mailbox's password).

It gets a virtual environment of its own. Its whole cycle is: POST outbox, GET inbox (once for many), GET the message, PUT
acknowledged.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import psutil

from hub_bench.client import connections, encoded
from hub_bench.load import BODY_BYTES
from tests.hub_server import free_port

PACKAGE = "mesh-sandbox"
SENDER, RECIPIENT, WORKFLOW = "X26ABC1", "X26ABC2", "TEST_WORKFLOW"
SHARED_KEY, PASSWORD = b"bench", "password"  # the password of its ready-made mailboxes
INSTALL_SECONDS = 300
START_SECONDS = 120


class NoPeer(Exception):
    """It cannot be had here."""


def make_environment(folder: Path) -> Path:
    """A Python with the peer in it. Raises NoPeer."""
    python = folder / "peer" / "bin" / "python"
    uv = shutil.which("uv")
    steps = (
        ([uv, "venv", "-q", "--python", sys.executable, folder / "peer"],
         [uv, "pip", "install", "-q", "--python", python, PACKAGE])
        if uv else
        ([sys.executable, "-m", "venv", folder / "peer"],
         [python, "-m", "pip", "install", "-q", PACKAGE])
    )  # fmt: skip
    for step in steps:
        try:
            subprocess.run([str(word) for word in step], check=True, capture_output=True, text=True,
                           timeout=INSTALL_SECONDS)  # fmt: skip
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise NoPeer(f"{PACKAGE} cannot be installed: {str(said).strip()[-300:]}") from error
    return python


def version_in(python: Path) -> str:
    """Which one was installed."""
    asked = f"from importlib.metadata import version; print(version('{PACKAGE}'))"
    return subprocess.run(
        [str(python), "-c", asked], check=True, capture_output=True, text=True
    ).stdout.strip()


@asynccontextmanager
async def running(python: Path) -> AsyncIterator[tuple[str, int]]:
    """The peer on a free port: its address and its process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = _start(python, port)
    try:
        await _healthy(url, process.pid)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _start(python: Path, port: int) -> subprocess.Popen[bytes]:
    settings = {
        "STORE_MODE": "memory",
        "AUTH_MODE": "full",
        "SHARED_KEY": SHARED_KEY.decode(),
        "PYTHONPATH": "",
    }
    command = f"-m uvicorn mesh_sandbox.api:app --port {port} --workers 1 --log-level warning"
    return subprocess.Popen(
        [str(python), *command.split()],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _healthy(url: str, pid: int) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                if not psutil.pid_exists(pid):
                    raise
            await asyncio.sleep(0.1)


async def cycle(url: str, messages: int, workers: int) -> int:
    """Send, receive and acknowledge so many messages by so many connections; how many."""
    body = os.urandom(BODY_BYTES)
    recipient = _headers(RECIPIENT)
    given = {
        "mex-to": RECIPIENT,
        "mex-workflowid": WORKFLOW,
        "content-type": "application/octet-stream",
    }
    outgoing = encoded("POST", f"/messageexchange/{SENDER}/outbox", {**_headers(SENDER), **given}, body)
    inbox = f"/messageexchange/{RECIPIENT}/inbox"
    async with connections(url, workers) as http:
        left = deque(range(messages))

        async def send() -> None:
            while left:
                left.popleft()
                _checked(await http.ask(outgoing))

        await asyncio.gather(*(send() for _ in range(workers)))
        done = 0
        while True:
            listed = _checked(await http.ask(encoded("GET", inbox, recipient)))
            found = deque(_LISTED.decode(listed).messages)
            if not found:
                return done
            done += len(found)

            async def collect(found: deque[str]) -> None:
                while found:
                    path = f"{inbox}/{found.popleft()}"
                    if _checked(await http.ask(encoded("GET", path, recipient))) != body:
                        raise RuntimeError("the peer gave another body")
                    _checked(await http.ask(encoded("PUT", f"{path}/status/acknowledged", recipient)))

            await asyncio.gather(*(collect(found) for _ in range(workers)))


class _Listed(msgspec.Struct, frozen=True):
    messages: list[str]


_LISTED = msgspec.json.Decoder(_Listed)


def _checked(answer: tuple[int, bytes]) -> bytes:
    status, body = answer
    if status >= 300:
        raise RuntimeError(f"the peer answered {status}: {body[:300]!r}")
    return body


def _headers(mailbox: str) -> dict[str, str]:
    """A sign-in that it takes any number of times: made once, as ours is."""
    secret = f"{mailbox}:1:1:{PASSWORD}:202601010000"
    cipher = hmac.new(SHARED_KEY, secret.encode("ascii"), "sha256").hexdigest()
    return {
        "accept": "application/vnd.mesh.v2+json",
        "authorization": f"NHSMESH {mailbox}:1:1:202601010000:{cipher}",
    }
