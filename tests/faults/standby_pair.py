"""Two PostgreSQL servers as docs/operate.md sets them up, by its commands as they stand there, and what may befall them."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from commonroom.engines import postgres
from tests.hub_server import free_port
from tests.waiting import until

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")
BLOCKS = {
    name: re.sub(r"^   ", "", text, flags=re.MULTILINE) if indent else text
    for indent, name, text in re.findall(r"^( *)```sh ([^\n]+)\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
}
# The operator's own lines, of which the test has its own.
OWN_LINES = re.compile(r"^export (PATH|HOST_a)=.*$", re.MULTILINE)
SECONDS = 120


class StandbyPair:
    """Servers `a` and `b` on this machine. `primary` and `standby` are their names as they stand at the moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.primary, self.standby = "a", "b"
        self.ports = {"a": free_port(), "b": free_port()}
        self._secrets = {name: secrets.token_hex(8) for name in ("POSTGRES", "REPLICATOR", "COMMONROOM")}
        self._user = postgres._system_user() if os.geteuid() == 0 else None

    @property
    def dsn(self) -> str:
        """What the page gives to Common Room's processes."""
        servers = ",".join(f"127.0.0.1:{port}" for port in self.ports.values())
        login = f"commonroom:{self._secrets['COMMONROOM']}"
        return f"postgresql://{login}@{servers}/commonroom?target_session_attrs=read-write"

    def set_up(self) -> None:
        """The page, from the beginning."""
        if self._user:
            postgres._allow_traversal(postgres._binaries(), self._user)
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self.run("both")
        self.run("a")
        assert self.run("b").split()[-1] == "b|streaming|quorum"

    def run(self, block: str) -> str:
        """Run a block of the page, with `old` and `new` as the page has them; what it prints."""
        return self._shell(f"old={self.standby} new={self.primary}\n{BLOCKS[block]}")

    def _shell(self, commands: str) -> str:
        own = f"export PATH='{postgres._binaries()}':$PATH NETWORK=127.0.0.1/32\n"
        own += "".join(
            f"export HOST_{name}=127.0.0.1 PORT_{name}={port}\n" for name, port in self.ports.items()
        )
        own += "".join(f"export SECRET_{name}={value}\n" for name, value in self._secrets.items())
        every, replaced = OWN_LINES.subn("", BLOCKS["every shell"])
        assert replaced == 2
        with tempfile.TemporaryFile() as said:  # no pipe: the servers started here would hold it open
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", own + every + commands],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=SECONDS,
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
                check=False,
            )
            said.seek(0)
            text = said.read().decode()
        assert done.returncode == 0, f"{commands}: {text[-2000:]}"
        return text

    def fail_over(self) -> None:
        """Promote the standby: from here on it is the primary."""
        self.primary, self.standby = self.standby, self.primary
        self.run("promote")

    def start(self, name: str) -> None:
        """Start a server as it is, as a machine does that knows nothing of what happened meanwhile."""
        self._shell(f"start {name}")

    def admin(self, name: str, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A superuser's session on one of them."""
        address = f"127.0.0.1:{self.ports[name]}/{database}?connect_timeout=5"
        return psycopg.connect(
            f"postgresql://postgres:{self._secrets['POSTGRES']}@{address}", autocommit=True
        )

    def kill(self, name: str, *, all_at_once: bool = False) -> None:
        """kill -9 of the postmaster; with `all_at_once` of all its processes, as when the machine loses its power."""
        processes = self._processes(name)
        for process in processes if all_at_once else processes[:1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        until(lambda: not any(map(_lives, processes)), SECONDS, "the end of the server's processes")
        # Where no init reaps it, the killed process stays a zombie, and PostgreSQL would take it for a running server.
        (self.folder / name / "cluster" / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self, name: str) -> None:
        """Everything stands still, as when its disk hangs: connections are open, and nothing answers."""
        for process in self._processes(name):
            process.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """It goes on as if nothing had happened."""
        for process in self._processes(name):
            process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End both, whatever state they are in."""
        for name in self.ports:
            with suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
                self.kill(name, all_at_once=True)

    def _processes(self, name: str) -> list[psutil.Process]:
        """The postmaster and then its children."""
        number = (self.folder / name / "cluster" / "postmaster.pid").read_text().split("\n")[0]
        postmaster = psutil.Process(int(number))
        assert postmaster.name() == "postgres"
        return [postmaster, *postmaster.children()]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def standby_pair() -> Iterator[StandbyPair]:
    """A pair that is set up, in a folder that a system user may pass to; see `tests.conftest.postgres`."""
    with tempfile.TemporaryDirectory(prefix="commonroom-standby-") as folder:
        pair = StandbyPair(Path(folder))
        try:
            pair.set_up()
            yield pair
        finally:
            pair.stop()
