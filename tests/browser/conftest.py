"""One world, one portal process and one Chromium for all browser tests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser

from commonroom.engines.postgres import LocalServer
from commonroom.settings import Settings
from tests.browser import world
from tests.browser.browser import chromium, open_browser
from tests.hub_server import free_port
from tests.waiting import until

START_SECONDS = 30.0


# Not for the whole session: while Playwright runs it holds an event loop, and no asynchronous test could run after it.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, or a skip that says why."""
    executable = chromium()
    if executable is None:
        pytest.skip("there is no Chromium on this machine (set COMMONROOM_CHROMIUM)")
    with open_browser(executable) as opened:
        yield opened


@pytest.fixture(scope="session")
def portal(postgres: LocalServer, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base address of a portal process over the tiny world."""
    name = f"browser_{uuid.uuid4().hex[:12]}"
    server = postgres.dsn.rsplit("/", 1)[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    settings = Settings(
        data=tmp_path_factory.mktemp("browser"),
        database=f"{server}/{name}",
        portal_port=free_port(),
        figures="live",  # its weeks arrive within a minute
    )
    with ThreadPoolExecutor(1) as elsewhere:
        # This thread may already hold Playwright's event loop.
        elsewhere.submit(asyncio.run, world.build(settings)).result()
    with PortalProcess(settings, tmp_path_factory.mktemp("log") / "portal.log"):
        yield settings.portal_url


class PortalProcess:
    """The portal as `serve` runs it: a process of its own."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log

    def __enter__(self) -> None:
        environment = {
            **os.environ,
            "COMMONROOM_DATABASE": str(self.settings.database),
            "COMMONROOM_PORTAL_PORT": str(self.settings.portal_port),
            "COMMONROOM_FIGURES": self.settings.figures,
        }
        command = [sys.executable, "-m", "commonroom", "run", "portal", "--data", str(self.settings.data)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(self._answers, START_SECONDS, "the portal answering")

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the portal ended: {self.log.read_text('utf-8')[-2000:]}"
        try:
            with urllib.request.urlopen(f"{self.settings.portal_url}/accessibility", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(START_SECONDS)
