"""An agent's key changes by command, against a real hub."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commonroom.agent import config as configuration
from commonroom.agent.enrolment import remembered_or_new
from commonroom.agent.memory import Memory
from commonroom.agent.rotation import rotated
from commonroom.exchange import Client, keys
from commonroom.identity import issue_enrolment_code
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import hub_here, message, publish_small_county

CONFIG = """
name: Oak Primary
hub: {hub}
folder: state
school: "990001"
enrolment_code: {code}
source: {{url: "sqlite:///mis.db", mapping: mapping.yaml}}
"""


async def test_the_agent_signs_with_its_new_key_and_its_hub_knows_both(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path)
        code = await issue_enrolment_code(connection, county.school, "test", timedelta(hours=1))
        file = tmp_path / "agent.yaml"
        file.write_text(CONFIG.format(hub=served.hub_url, code=code), "utf-8")
        config = configuration.load(file)
        memory = Memory.open(config.memory_file)
        with pytest.raises(Problem, match="not enrolled"):
            await rotated(config, retire_old=False)
        enrolment = await remembered_or_new(config, memory)
        memory.close()
        before = keys.signing_key(keys.load(config.key_file)).kid
        new = await rotated(config, retire_old=False)
        assert new == keys.signing_key(keys.load(config.key_file)).kid != before
        async with Client(config.hub, config.key_file, enrolment.end_point) as client:
            await client.post(*message(county))
            listed = await client.keys_of(county.school)
        assert [(key.kid, key.valid_until is None) for key in listed.keys] == [(before, False), (new, True)]
        # An agent that has lost its memory and kept its key may enrol again with the code it had.
        config.memory_file.unlink()
        memory = Memory.open(config.memory_file)
        assert await remembered_or_new(config, memory) == enrolment
        memory.close()
