"""What docs/warehouse.md says of sending facts that nobody sends in the demo is done as it stands there, word for word."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from commonroom import simulation
from commonroom.hub.directory import Alias, Party, publish
from commonroom.identity import issue_enrolment_code
from commonroom.settings import Settings
from commonroom.warehouse import heads
from tests.hub_server import assure_everybody, hub_here, publish_small_county
from tests.unit.warehouse.test_loader import loading

ROOT = Path(__file__).parents[3]
DEPARTMENT = "urn:commonroom:org:00000000-0000-7000-8000-0000000000d1"
REFERENCE = "reference-figures"


def _files(folder: Path) -> None:
    """The files that the page shows."""
    page = (ROOT / "docs" / "warehouse.md").read_text("utf-8")
    section = page.split("## Facts for the other measures", 1)[1].split("\n## ", 1)[0]
    shown = re.findall(r"```\w+ ([\w.-]+)\n(.*?)```", section, re.S)
    assert {name for name, _ in shown} == {
        "send_facts.py",
        "school-facts.yaml",
        "places.json",
        "population.json",
    }
    for name, text in shown:
        (folder / name).write_text(text, "utf-8")


def _movements(folder: Path) -> str:
    """The page's movement with the demo's own of the Department."""
    demo = yaml.safe_load((Path(simulation.__file__).parent / "movements.yaml").read_text("utf-8"))
    (reference,) = [one for one in demo["movements"] if one["id"] == REFERENCE]
    ours = yaml.safe_load((folder / "school-facts.yaml").read_text("utf-8"))["movements"]
    return yaml.safe_dump({"movements": [*ours, reference]})


async def test_a_school_and_the_department_send_facts_as_the_page_says(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    _files(tmp_path)
    async with hub_here(settings) as served, pool.acquire() as connection:
        department = Party(DEPARTMENT, "The Department", ("department",))
        named = [Alias("urn:commonroom:alias:platform:department", DEPARTMENT)]
        await publish(connection, [department], named, [])
        county = await publish_small_county(connection, tmp_path, _movements(tmp_path))
        await assure_everybody(connection)

        async def send(party: str, entity: str, file: str) -> str:
            code = await issue_enrolment_code(connection, party, "test", timedelta(hours=1))
            ran = await asyncio.create_subprocess_exec(
                sys.executable, "send_facts.py", entity, file, cwd=tmp_path,
                env={**os.environ, "HUB": served.hub_url, "CODE": code}, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            said, _ = await asyncio.wait_for(ran.communicate(), 60)
            return said.decode()

        async with loading(served):
            assert " acknowledged" in await send(county.school, "admission_number", "places.json")
            assert " acknowledged" in await send(DEPARTMENT, "child_population", "population.json")
            assert " refused" in await send(county.other_school, "admission_number", "places.json")
        assert set((await heads.newest(pool)).tables) == {"admission_number", "child_population"}
