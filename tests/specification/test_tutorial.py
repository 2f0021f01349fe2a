"""docs/connect-an-end-point.md: every block on the page, run in its order against the sandbox that it starts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonroom.sandbox import PARTNERS
from commonroom.settings import Settings
from tests.waiting import until

PAGE = (Path(__file__).parents[2] / "docs" / "connect-an-end-point.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
MINUTES = 15

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("sh", "curl", "openssl"))), reason="needs sh, curl and openssl"
)


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """`commonroom` and `python` on the path; the test's own database in place of a new server."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, command in (("python", ""), ("commonroom", " -m commonroom")):
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{command} "$@"\n')
        (folder / name).chmod(0o755)
    source = str(Path(__file__).parents[2] / "src")
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": source,
        "COMMONROOM_DATABASE": settings.database or "",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The newcomer's empty folder."""
    made = tmp_path / "newcomer"
    made.mkdir()
    return made


@pytest.fixture
def sandbox(environment: dict[str, str], folder: Path) -> Iterator[Path]:
    """The block of the first terminal, running; the file with what it prints."""
    (terminal,) = (text for _, name, text in BLOCKS if name == "terminal")
    said = folder.parent / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {terminal}"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(40)


def test_the_page_followed_literally_ends_with_acknowledged_messages(
    environment: dict[str, str], folder: Path, sandbox: Path
) -> None:
    began = time.monotonic()
    until(lambda: b"The sandbox is up." in sandbox.read_bytes(), 120, "the sandbox being up")
    up = time.monotonic()
    lines = []
    for language, name, text in BLOCKS:
        if language == "python":
            (folder / name).write_text(text, "utf-8")
        elif not name:
            assert language == "sh"
            lines.append(text)
    shell = subprocess.run(
        ["sh", "-eu"],
        input="\n".join(lines),
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=MINUTES * 60,
        check=False,
    )
    assert shell.returncode == 0, shell.stdout + shell.stderr
    assert (folder / "bodies.txt").read_text("utf-8").count("Good morning") == 1
    assert sorted(line.split(" ", 2)[0] for line in (folder / "received.txt").read_text().splitlines()) == [
        "a",
        "greeting-2",
        "greeting-3",
    ]
    print(f"up after {up - began:.1f} s, the rest took {time.monotonic() - up:.1f} s")
    assert time.monotonic() - began < MINUTES * 60


def test_the_table_on_the_page_names_every_partner() -> None:
    listed = dict(re.findall(r"^\| (\w+) \| `(urn:commonroom:alias:[^`]+)` \|", PAGE, re.MULTILINE))
    assert listed == {partner.name: partner.party for partner in PARTNERS}
