"""An object store that tests start on loopback: moto, which speaks S3 over HTTP in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.fs
from deltalake.fs import DeltaStorageHandler

from tests.waiting import until

PACKAGES = Path(__file__).parents[2] / ".tools" / "moto"
BUCKET = "commonroom"


class Relay:
    """A way to the store that needs threads of this process: who stops them all waits for ever."""

    def __init__(self, address: str) -> None:
        _, _, port = address.rpartition(":")

        self._open: list[socket.socket] = []

        class Connection(socketserver.BaseRequestHandler):
            def handle(connection) -> None:  # noqa: N805
                self._open.append(connection.request)
                with socket.create_connection(("127.0.0.1", int(port))) as store:
                    back = threading.Thread(target=_pass_on, args=(store, connection.request), daemon=True)
                    back.start()
                    _pass_on(connection.request, store)
                    back.join(10)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Take no connection more, and end those that there are."""
        self._server.shutdown()
        self._server.socket.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while some := source.recv(65536):
            target.sendall(some)
        target.shutdown(socket.SHUT_WR)


class ObjectStore:
    """A store with one bucket. Whoever has its `environment` gets in."""

    def __init__(self, folder: Path) -> None:
        assert PACKAGES.is_dir(), (
            "the tests' object store is not installed: run `make .tools/moto/.installed`"
        )
        log = folder / "moto.log"
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
                stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": str(PACKAGES)},
            )  # fmt: skip
        found = until(lambda: re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()), 60, "moto")
        self.environment = {
            "AWS_ENDPOINT_URL": str(found[1]),
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-west-2",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        }
        made = urllib.request.Request(f"{found[1]}/{BUCKET}", method="PUT")  # noqa: S310 - our own server
        urllib.request.urlopen(made, timeout=20).close()  # noqa: S310

    def stop(self) -> None:
        """End it at once; all that it holds is gone."""
        self._process.kill()
        self._process.wait()

    @staticmethod
    def objects(address: str) -> Any:
        """What lies under an address, to look at and to damage."""
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler(address))

    @staticmethod
    def put(address: str, name: str, content: bytes) -> None:
        """Put an object under an address, over any that is there."""
        # pyarrow's own file would hand delta-rs a buffer, and that one takes bytes alone.
        file = DeltaStorageHandler(address)._handler.open_output_stream(name, None)
        file.write(content)
        file.close()
