"""Servers that tests start on loopback: Sail, and a standalone cluster of Apache Spark with two workers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.waiting import until

_SAIL = "from pysail.cli import main; main()"
_START_SECONDS = 120  # six Java machines on two busy cores
_FAST_START = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


class Sail:
    """A Spark Connect server in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self._log = folder / f"sail-{port}.log"
        with self._log.open("w") as log:
            arguments = ["spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SAIL, *arguments], stdout=log, stderr=log
            )
        found = until(lambda: re.search(r"server on 127\.0\.0\.1:(\d+)", self._log.read_text()), 60, "Sail")
        self.port = int(found[1])
        self.address = f"sc://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


class Cluster:
    """A master and two workers with one core each; what a driver here needs to know stands in the environment."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._home = folder, spark_home()
        (folder / "conf").mkdir(parents=True)
        (folder / "conf" / "spark-defaults.conf").write_text(_DEFAULTS)
        self.environment = {
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_CONF_DIR": str(folder / "conf"),
            "SPARK_HOME": str(self._home),
            "SPARK_SCALA_VERSION": "2.13",
        }
        self._running = {"master": self._java("master", "master.Master", "--port", "0")}
        self.address = ""
        try:
            self._start()
        except AssertionError:
            self.stop()
            raise

    def _start(self) -> None:
        """Wait for the master, then for two workers."""
        self.address = until(
            lambda: self._said("master", r"spark://127\.0\.0\.1:\d+") or "", _START_SECONDS, "master"
        )
        for name in ("worker-0", "worker-1"):
            self.start_worker(name)
        for name in ("worker-0", "worker-1"):
            until(lambda name=name: self._said(name, "Successfully registered"), _START_SECONDS, name)

    def start_worker(self, name: str) -> None:
        """Start a worker of one core."""
        place = ["--cores", "1", "--memory", "1g", "-d", str(self._folder / name)]
        self._running[name] = self._java(name, "worker.Worker", *place, self.address)

    def kill_executor(self) -> int:
        """kill -9 of one executor at work, once there is one. Its worker starts another."""
        victim = until(lambda: self._executors(), _START_SECONDS, "an executor")[0]
        victim.kill()
        return int(victim.pid)

    def kill_worker(self, name: str) -> None:
        """kill -9 of a whole worker with its executors, as when a machine dies."""
        worker = psutil.Process(self._running[name].pid)
        for process in [*worker.children(recursive=True), worker]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._running.pop(name).wait()

    def stop(self) -> None:
        """End all of it."""
        for name in list(self._running):
            self.kill_worker(name)

    def _executors(self) -> list[psutil.Process]:
        return [
            child
            for process in self._running.values()
            for child in psutil.Process(process.pid).children()
            if "CoarseGrainedExecutorBackend" in " ".join(child.cmdline())
        ]

    def _said(self, name: str, pattern: str) -> str | None:
        found = re.search(pattern, (self._folder / f"{name}.log").read_text())
        return found[0] if found else None

    def _java(self, name: str, part: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self._folder / f"{name}.log").open("w")
        with log:
            return subprocess.Popen(
                ["java", "-Xmx256m", *_FAST_START, "-cp", f"{self._home}/jars/*", f"org.apache.spark.deploy.{part}",
                 "--host", "127.0.0.1", "--webui-port", "0", *arguments],
                stdout=log, stderr=log, env={**os.environ, **self.environment},
            )  # fmt: skip


# Few rows: as many parts as cores. Executors that come to life anew are no reason to give up.
_DEFAULTS = f"""
spark.sql.shuffle.partitions 2
spark.driver.host 127.0.0.1
spark.driver.memory 512m
spark.driver.extraJavaOptions {" ".join(_FAST_START)}
spark.executor.memory 512m
spark.executor.extraJavaOptions {" ".join(_FAST_START)}
"""


def spark_home() -> Path:
    """Where the whole of Spark is installed."""
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def missing() -> str:
    """Why no cluster can be started here; empty when one can."""
    if shutil.which("java") is None:
        return "no Java"
    return "" if (spark_home() / "jars").is_dir() else "no Apache Spark (`make spark` installs it)"


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """These variables, for as long as it lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
