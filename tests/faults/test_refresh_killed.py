"""kill -9 in the midst of a refresh of partial sums: the next process gives the figures that all facts give."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("trials", [4, pytest.param(150, marks=pytest.mark.soak)])
async def test_after_a_kill_in_a_refresh_the_next_process_gives_the_figures_of_all_facts(
    tmp_path: Path, trials: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.refresh_killed", str(tmp_path), str(trials),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    told, errors = await asyncio.wait_for(process.communicate(), 120 + 5 * trials)
    assert process.returncode == 0, errors.decode()[-2000:]
    killed = json.loads(told)["killed"]
    print(f"{trials} trials, killed {killed}, no figure other than that of the facts")
    assert killed["at a step"] >= trials // 4
    # How long one takes is measured once: of a few moments all may come too late on a busy machine.
    assert killed["at a moment"] >= trials // 4 or trials < 100
