"""`schemathesis`, an outside fuzzer, reads the hub's OpenAPI and finds no request that is answered with 5xx."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx2
import pytest

from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.unit.hub.conftest import Town

ROOT = Path(__file__).parents[3]
SEED = 3
EXAMPLES = 10  # of each operation, beside the boundaries of every parameter
SECONDS = 400.0
METHODS = {"get", "put", "post", "delete", "head", "options", "patch"}


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    """Messages need no signature, which no fuzzer can make: they get further in."""
    return settings_with(settings, require_signatures=False)


async def test_no_request_that_the_interface_describes_is_answered_with_5xx(town: Town) -> None:
    async with httpx2.AsyncClient(base_url=town.url) as http:
        paths = (await http.get("/schema/openapi.json")).json()["paths"]
    operations = sum(len(METHODS & set(found)) for found in paths.values())
    text, status = await _fuzzed(town)
    print(text[-1_500:])
    assert status == 0, text[-6_000:]
    [tested] = re.findall(r"^ *Tested: (\d+)$", text, re.MULTILINE)
    [(made, passed)] = re.findall(r"(\d+) generated, (\d+) passed", text)
    assert int(tested) == operations
    assert int(made) == int(passed) > 20 * operations
    assert await town.pool.fetchval("SELECT count(*) FROM hub.message"), "nothing got beyond the door"


async def _fuzzed(town: Town) -> tuple[str, int | None]:
    """What the fuzzer says, and its status: not 0 when any request was answered with 5xx."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{town.url}/schema/openapi.json"),
        *("--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--continue-on-failure", "--no-color"),
        *("--header", f"Authorization: Bearer {await town.school._current_token()}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=town.folder,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.unit.hub.fuzzing_hooks",
            "PYTHONPATH": str(ROOT),
            "FUZZ_SOURCE": town.county.school,
            "FUZZ_TYPE": "commonroom.attendance_mark.changed",
        },
    )
    output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    return output.decode(), process.returncode
