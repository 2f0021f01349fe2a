"""Faults on demand, each one real: the hub's process is killed, leases and tokens are lost. Nothing pretends."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import httpx2

from commonroom.problems import Problem
from commonroom.settings import Settings

HEALTHY_SECONDS = 60.0
PAUSE = 0.1
TOKEN_KEY = "tokens.pem"  # noqa: S105 - the name of a file

_LOSE_LEASES = """
UPDATE hub.delivery SET lease_until = clock_timestamp()
WHERE state = 'leased' AND finished_at IS NULL AND lease_until > clock_timestamp()
"""


def restart_hub(settings: Settings) -> float:
    """kill -9 of the hub; the supervisor starts it again. Seconds until it is healthy. Raises Problem CR-171."""
    process = _hub_process(settings)
    began = time.monotonic()
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError as error:
        raise _no_hub(settings) from error
    deadline = began + HEALTHY_SECONDS
    while time.monotonic() < deadline:
        if _hub_process(settings) != process and healthy(settings):
            return time.monotonic() - began
        time.sleep(PAUSE)
    raise _no_hub(settings)


def change_token_key(settings: Settings) -> float:
    """The hub loses the key of its access tokens: every token given before is refused from now on (401)."""
    (settings.folder("keys") / TOKEN_KEY).unlink(missing_ok=True)
    return restart_hub(settings)


async def lose_leases(connection: Any) -> int:
    """Whatever end points hold at this moment is offered again at once, to them or others; how many letters."""
    return int((await connection.execute(_LOSE_LEASES)).split()[-1])


def healthy(settings: Settings) -> bool:
    """Whether the hub answers."""
    try:
        return httpx2.get(f"{settings.hub_url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx2.RequestError:
        return False


def until_healthy(settings: Settings) -> None:
    """Wait for the hub. Raises Problem CR-171 when it does not come."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while not healthy(settings):
        if time.monotonic() > deadline:
            raise _no_hub(settings)
        time.sleep(PAUSE)


def _hub_process(settings: Settings) -> int:
    try:
        return int(json.loads((settings.data / "run" / "processes.json").read_text("ascii"))["hub"])
    except (FileNotFoundError, KeyError) as error:
        raise _no_hub(settings) from error


def _no_hub(settings: Settings) -> Problem:
    return Problem(
        "CR-171",
        "the hub of this sandbox does not run",
        where=str(settings.data),
        remedy=f"Start it with `commonroom sandbox`, or read {settings.data / 'logs' / 'hub.log'}.",
    )
