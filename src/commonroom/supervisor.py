"""Starts the processes of one installation, restarts what dies, stops all in order.

`postgres` (unless a DSN is given) comes first and goes last. A child that dies is started again at once, then with a growing
pause while it keeps dying. `run/processes.json` in the data folder says which process has which number.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec

from commonroom import log
from commonroom.engines.database import migrate
from commonroom.engines.postgres import LocalServer, connections_for
from commonroom.problems import Problem
from commonroom.settings import FILE_NAME, HUB_ADDRESS, Settings

STOP_SECONDS = 15
LOOK_SECONDS = 0.1
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
# A child that lived this long has started well: its next death is a new story.
SETTLED_SECONDS = 10.0
# Locks of the ports this process has given away.
_PORTS: list[IO[bytes]] = []


class Child(msgspec.Struct, frozen=True):
    """One process to keep alive: `commonroom <arguments>`."""

    name: str
    arguments: tuple[str, ...]


HUB = Child("hub", ("run", "hub"))
PORTAL = Child("portal", ("run", "portal"))
WORKER = Child("worker", ("run", "worker"))
AGENTS = Child("agents", ("run", "agents"))


def hubs(settings: Settings) -> tuple[Child, ...]:
    """The hub's processes, which share one port. When one dies the others go on."""
    more = (Child(f"hub-{number}", HUB.arguments) for number in range(2, settings.hub_processes + 1))
    return HUB, *more


class _Running:
    """A child's process and the history that decides when it is started again."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.start = start
        self.process = start()
        self.since = time.monotonic()
        self.pause = FIRST_PAUSE
        self.died_at: float | None = None
        self.restarts = 0


class Supervisor:
    """Keeps the processes of one data folder running; a context manager that stops them at its end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._log = log.get("supervisor")
        self._lock = _lock_folder(settings.data)
        self._server = None if settings.database else _own_server(settings)
        self._children: dict[str, _Running] = {}
        self._guard = threading.RLock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        try:
            if self._server:
                self._adopt("postgres", self._server.start)
            migrate(self.settings)
        except BaseException:
            self.stop()
            raise
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, child: Child) -> None:
        """Start one child and keep it alive."""
        self._adopt(child.name, lambda: self._launch(child))

    def restarts(self) -> dict[str, int]:
        """How often each child had to be started again."""
        with self._guard:
            return {name: running.restarts for name, running in self._children.items()}

    def wait(self) -> None:
        """Until SIGTERM or SIGINT asks for the end (see `stop_on_signals`)."""
        with suppress(KeyboardInterrupt):
            while not self._stopping.wait(1):
                pass

    def stop(self) -> None:
        """Stop the children, last started first, then PostgreSQL."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        with self._guard:
            names = [name for name in reversed(self._children) if name != "postgres"]
            for name in names:
                self._children[name].process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for name in names:
                _finish(self._children[name].process, deadline)
            if self._server:
                self._server.stop()
            self._children.clear()
            self._write_numbers()
        self._lock.close()

    def _adopt(self, name: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        with self._guard:
            self._children[name] = _Running(start)
            self._write_numbers()

    def _launch(self, child: Child) -> subprocess.Popen[bytes]:
        path = self.settings.folder("logs") / f"{child.name}.log"
        with path.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "commonroom", *child.arguments, "--data", str(self.settings.data)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(self.settings),
                start_new_session=True,
            )

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            with self._guard:
                for name, running in self._children.items():
                    self._look_after(name, running)

    def _look_after(self, name: str, running: _Running) -> None:
        if running.process.poll() is None:
            return
        now = time.monotonic()
        if running.died_at is None:
            running.died_at = now
            settled = now - running.since > SETTLED_SECONDS
            running.pause = FIRST_PAUSE if settled else min(running.pause * 2, LONGEST_PAUSE)
            self._log.warning(
                "child died", child=name, status=running.process.returncode, pause=running.pause
            )
        if now - running.died_at < running.pause:
            return
        try:
            running.process = running.start()
        except Exception as error:  # whatever it was, the watch over all the others must go on
            self._log.error("child did not start", child=name, error=type(error).__name__)
            running.died_at = now
            return
        running.since, running.died_at = time.monotonic(), None
        running.restarts += 1
        self._write_numbers()

    def _write_numbers(self) -> None:
        path = self.settings.folder("run") / "processes.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({name: running.process.pid for name, running in self._children.items()}))
        new.replace(path)
        address = path.with_name(HUB_ADDRESS)
        if any(name.startswith("hub") for name in self._children):
            address.write_text(self.settings.hub_url, "utf-8")
        else:
            address.unlink(missing_ok=True)


def stop_on_signals() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that nothing it started is left behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def write_settings(settings: Settings) -> None:
    """Write `commonroom.yaml`, so that later commands on this data folder find the same ports and addresses."""
    defaults = Settings(data=settings.data)
    changed = {
        name: getattr(settings, name)
        for name in Settings.__struct_fields__
        if name != "data" and getattr(settings, name) != getattr(defaults, name)
    }
    path = settings.data / FILE_NAME
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}: {json.dumps(str(value))}\n" for name, value in changed.items()))


def environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, so that every child has exactly those of its supervisor."""
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__ if name != "data"}
    given = {f"COMMONROOM_{name.upper()}": str(value) for name, value in values.items() if value is not None}
    return {**os.environ, **given, "COMMONROOM_SUPERVISED": "1"}


def follow_parent() -> None:
    """End this process when the supervisor that started it is gone, however it went."""
    if os.environ.get("COMMONROOM_SUPERVISED") != "1":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


def free_port(wanted: int | None, taken: int | None = None) -> int:
    """`wanted` when nothing listens there, else any free port other than `taken`; ours for the life of this process.

    Seconds pass until the child listens. In that time another commonroom of this user would find the port free too,
    and talk to the wrong hub: so each port that is given away is locked, and the lock goes with the process.
    """
    if wanted and wanted != taken and _is_free(wanted) and _locked(wanted):
        return wanted
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            found = int(probe.getsockname()[1])
        if found != taken and _locked(found):
            return found


def hold_shared_port(settings: Settings) -> None:
    """Keep the port that several hub processes share for this process and its children. Raises Problem CR-002.

    The kernel lets any process of this user join them: the hub of another data folder would take half of the connections.
    """
    if settings.hub_processes > 1 and not _locked(settings.hub_port):
        raise Problem(
            "CR-002",
            f"another commonroom has the port {settings.hub_port}",
            where="hub_port",
            remedy="Stop it, or choose another `hub_port`.",
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _locked(port: int) -> bool:
    held = (Path(tempfile.gettempdir()) / f"commonroom-{os.getuid()}-port-{port}.lock").open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return False
    _PORTS.append(held)
    return True


def _own_server(settings: Settings) -> LocalServer:
    connections = connections_for(settings.hub_processes)
    return LocalServer(settings.folder("postgres"), options={"max_connections": str(connections)})


def _lock_folder(folder: Path) -> IO[bytes]:
    """One supervisor a data folder; the lock goes with the process, even by kill -9."""
    folder.mkdir(parents=True, exist_ok=True)
    held = (folder / ".lock").open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Problem(
            "CR-002",
            "another commonroom runs in this data folder",
            where=str(folder),
            remedy="Stop it, or name another folder with --data.",
        ) from error
    return held


def _finish(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
