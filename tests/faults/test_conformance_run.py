"""The conformance suite, whole, against an end point that keeps the rules: its hub is killed, its token and quota go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from commonroom import sandbox
from commonroom.exchange import keys
from commonroom.sandbox import evidence
from commonroom.settings import Settings
from tests.hub_server import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
ECHO = sandbox.PARTNERS[0].party


def test_an_end_point_that_keeps_the_rules_passes_under_real_faults(
    settings: Settings, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "COMMONROOM_DATABASE": settings.database or "",
        "COMMONROOM_LEASE_SECONDS": "5",
    }
    command = [sys.executable, "-m", "commonroom"]
    data, said, out = tmp_path / "sandbox", tmp_path / "said.txt", tmp_path / "result.json"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, "sandbox", "--data", str(data), "--port", str(free_port())],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until(lambda: b"The sandbox is up." in said.read_bytes(), 120, "the sandbox being up")
        run = subprocess.run(
            [
                *command,
                "conformance",
                "run",
                "--party",
                ECHO,
                "--json",
                "--data",
                str(data),
                "--out",
                str(out),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(40)
    assert run.returncode == 0, run.stdout + run.stderr
    checks = json.loads(run.stdout)["checks"]
    assert [check["passed"] for check in checks] == [True] * 8
    key = keys.public_jwk(keys.load(data / "keys" / evidence.KEY_FILE))
    statement = evidence.read(out, key)
    assert statement.passed
    assert len(statement.result.keys) == 1  # by which the hub in earnest knows the end point again
