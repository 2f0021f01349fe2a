"""docs/envelope.md: its example lines bring a message to a real hub, and its table is the code's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commonroom.exchange import RECORDS_TYPE, decode
from commonroom.exchange.envelope import ATTRIBUTES
from commonroom.hub import load_movements
from commonroom.identity import issue_enrolment_code
from commonroom.settings import Settings
from tests.hub_server import hub_here, publish_small_county

MOVEMENT = """
movements:
  - id: learners
    title: Learners on roll
    from: {kind: school}
    to: [the department's warehouse]
    types: [commonroom.learner.changed]
    purpose: The example on the page
    legal_basis: Invented for tests
    content: Learners
    frequency: {how: on_change}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
"""
PAGE = (Path(__file__).parents[3] / "docs" / "envelope.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
async def test_the_lines_on_the_page_bring_a_message_to_the_hub(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path)
        (tmp_path / "learners.yaml").write_text(MOVEMENT, "utf-8")
        await load_movements(connection, tmp_path / "learners.yaml")
        code = await issue_enrolment_code(connection, county.school, "test", timedelta(hours=1))
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-eu",
            "-c",
            block("sh"),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HUB": served.hub_url, "CODE": code},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(shell.communicate(), 60)
    assert shell.returncode == 0, output.decode()
    receipt, tracking, mailbox = (
        json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
        for name in ("receipt", "tracking", "mailbox")
    )
    assert (receipt["id"], receipt["repeated"]) == ("my-first-message", False)
    assert tracking["source"] == county.school
    assert (
        {delivery["recipient"] for delivery in tracking["deliveries"]} == set(receipt["recipients"]) != set()
    )
    assert mailbox == {"letters": []}


def test_the_record_set_on_the_page_is_one() -> None:
    record_set = decode(block("json").encode("utf-8"), RECORDS_TYPE)
    assert list(record_set.records) == ["attendance_mark"]
    assert list(record_set.rekeyed["learner"][0]) == ["from", "to"]


def test_the_table_on_the_page_lists_every_attribute() -> None:
    listed = re.findall(r"^\| `[^`]+` \| `([a-z]+)` \|", PAGE, re.MULTILINE)
    assert listed[0] == "specversion"
    assert sorted(listed[1:]) == sorted(ATTRIBUTES)
