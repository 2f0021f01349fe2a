"""The receiver on the page about the hub runs as it is printed: it consents, takes what is signed, refuses what is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commonroom.hub.push_keys import load_push_keys
from commonroom.hub.subscriptions import ask_consent
from commonroom.hub.targets import networks, open_caller
from commonroom.settings import Settings
from tests.hub_server import free_port
from tests.waiting import until

PAGE = Path(__file__).parents[3] / "docs" / "hub.md"


def receiver_on_the_page() -> str:
    """The Python block of the section about push."""
    section = PAGE.read_text("utf-8").split("\n## Push\n")[1].split("\n## ")[0]
    [block] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(block)


async def test_the_receiver_on_the_page_takes_what_the_hub_signed_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    now = datetime.now(UTC)
    keys = load_push_keys(settings, now)
    environment = {**os.environ, "KEYS": " ".join(key.key for key in keys.public())}
    port = free_port()
    url = f"http://127.0.0.1:{port}/in"
    command = [sys.executable, "-c", receiver_on_the_page(), str(port)]
    process = subprocess.Popen(  # noqa: ASYNC220 - started once, not waited for
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        until(lambda: answers(url), 20, "the receiver listening")
        async with open_caller(networks("127.0.0.0/8")) as caller:
            assert await ask_consent(caller, settings, url) is None
            signed = keys.headers("id", b"letter", now)
            stale = keys.headers("id", b"letter", now - timedelta(hours=1))
            statuses = [
                (await caller.call("POST", url, {**headers, "ce-id": "7"}, body)).status
                for headers, body in ((signed, b"letter"), (signed, b"lettes"), (stale, b"letter"))
            ]
        assert statuses == [204, 401, 401]
    finally:
        process.kill()
        printed, _ = process.communicate()
    assert printed == "7 b'letter'\n"


def answers(url: str) -> bool:
    """Whether something answers HTTP there, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=2)  # noqa: S310 - a loopback address
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
