"""docs/a-new-collection-in-a-day.md: every file and command on the page, in its order; what it prints is what is printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "a-new-collection-in-a-day.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")


def test_the_page_needs_no_programming() -> None:
    assert {language for language, _, _ in BLOCKS} == {"sh", "yaml", "xml", "csv", "text"}
    for language, _, text in BLOCKS:
        assert language != "sh" or "python" not in text


def test_the_page_followed_literally_gives_what_it_prints(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "commonroom"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m commonroom "$@"\n')
    command.chmod(0o755)
    folder = tmp_path / "analyst"
    folder.mkdir()
    environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "COMMONROOM_COLLECTIONS": str(folder / "collections"),
        "COLUMNS": "200",
    }
    printed, lines = "", 0
    for language, name, text in BLOCKS:
        if language == "sh":
            done = subprocess.run(
                ["sh", "-eu"],
                input=text,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, text + done.stdout + done.stderr
            printed = done.stdout.replace(f"{folder}/", "")
        elif language == "text":
            assert printed == text
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
            lines += text.count("\n") if name.startswith("collections/") else 0
    print(f"a collection of {lines} lines of YAML")
