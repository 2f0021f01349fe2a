"""The command: its version, its groups, and a clear word when a group needs what is not installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from commonroom.cli import GROUPS

BLOCKED = """
import sys
sys.modules["asyncpg"] = None
sys.argv = ["commonroom", "providers", "find", "oak"]
from commonroom.cli import main
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commonroom", *arguments], capture_output=True, text=True, check=False
    )


def test_it_says_its_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, version("commonroom"))


@pytest.mark.parametrize("group", [*GROUPS, "demo", "serve", "run"])
def test_every_group_explains_itself(group: str) -> None:
    done = run(group, "--help")
    assert done.returncode == 0
    assert f"commonroom {group}" in done.stdout


def test_a_group_whose_library_is_missing_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "commonroom[server]" in done.stderr


def test_a_problem_is_words_and_status_2(tmp_path: object) -> None:
    done = run("providers", "find", "oak", "--data", f"{tmp_path}/none")
    assert done.returncode == 2
    assert done.stderr.startswith("CR-003")
    assert "Traceback" not in done.stderr
