"""Whole files that never change, fetched once and kept in a folder of this machine until there is no room for them.

Any number of threads and processes may share the folder. A file has its name only when it is whole; who fetches it holds a
lock on its unfinished copy, so that nobody fetches it twice. Which file goes first is told by when it was last used.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from commonroom.problems import Problem, add_codes

add_codes({"CR-312": "There is no room for the warehouse's files on this machine"})

# What was used so recently may be in the middle of a question: it stays, even when there is no room for it.
IN_USE_SECONDS = 3_600.0
# How exactly "last used" is kept: a file that is asked for all the time is not touched all the time.
_TOUCH_SECONDS = 60.0
_PART = ".part"
_LOCK = ".lock"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# The disk, or the folder, gives out no room before a file is written: then it is found out while it is written.
_NO_PROMISES = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})

Write = Callable[[IO[bytes]], None]


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class FileCache:
    """A folder of files by name (with slashes, if you like), of about so many bytes together.

    It leaves `keep_free` bytes free on its disk, as `free` tells them: others need the disk too.
    """

    def __init__(
        self, folder: Path, most_bytes: int, keep_free: int = 0, free: Callable[[Path], int] = _free
    ) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.keep_free = keep_free
        self._free = free

    def has(self, name: str, size: int) -> bool:
        """Whether the whole file is here; then it counts as used now. A file of another size is not the file."""
        path = self.folder / name
        try:
            found = path.stat()
            if found.st_size == size and time.time() - found.st_mtime > _TOUCH_SECONDS:
                os.utime(path)
        except FileNotFoundError:  # never here, or just thrown out
            return False
        return found.st_size == size

    def put(self, name: str, size: int, write: Write) -> None:
        """Have `write` write the file, unless another has done so meanwhile. It must raise when the file is not whole.

        On a full disk it takes the place of what is not in use. Raises Problem CR-312 when that is not enough.
        """
        if not self._is_put(name, size, write):
            self.trim(at_least=size)
            if not self._is_put(name, size, write):
                raise _no_room(self.folder)

    def _is_put(self, name: str, size: int, write: Write) -> bool:
        """Whether the disk had room for it."""
        try:
            self._put(name, size, write)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return False
        return True

    def _put(self, name: str, size: int, write: Write) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(path.name + _PART)
        with _locked(part) as file:
            if self.has(name, size):
                part.unlink()
                return
            try:
                file.truncate(0)  # what a process that was killed left
                self._take_room(file, size)
                _write_whole(file, write)
            except BaseException:
                part.unlink()
                raise
            part.replace(path)

    def _take_room(self, file: IO[bytes], size: int) -> None:
        """Take the room for it before it comes: of several that come at once each would find the same room free."""
        with self._alone():
            if self._free(self.folder) - size < self.keep_free:
                raise OSError(errno.ENOSPC, "less than is to be kept free would be left")
            if size:
                with _no_promises():
                    os.posix_fallocate(file.fileno(), 0, size)

    def trim(self, at_least: int = 0) -> None:
        """Throw out what was not used for longest until the rest has room, or all of it is in use.

        `at_least` so many bytes, where the disk has less room than was thought; otherwise nothing is done while another
        does the same.
        """
        with suppress(BlockingIOError), self._alone(0 if at_least else fcntl.LOCK_NB):
            self._throw_out(at_least)

    @contextmanager
    def _alone(self, how: int = 0) -> Iterator[None]:
        """Nobody else takes room or makes it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | how)
            yield

    def _throw_out(self, at_least: int) -> None:
        found = sorted(self._files())
        too_much = max(
            sum(size for _, size, _ in found) - self.most_bytes,
            at_least,
            at_least + self.keep_free - self._free(self.folder),
        )
        for used, size, path in found:
            if too_much <= 0 or time.time() - used < IN_USE_SECONDS:
                return
            if _is_unused_since(path, used):
                path.unlink(missing_ok=True)
                too_much -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was used, its size, and where it is; copies that were cut off are among them."""
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):
                found = path.stat()
                if path.is_file() and path.name != _LOCK:
                    yield found.st_mtime, found.st_size, path


@contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """The unfinished copy of a file, in nobody else's hands. It is renamed or removed by who has it."""
    while True:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(part, file):
                yield file
                return


def _is_unused_since(path: Path, used: float) -> bool:
    """Looking at thousands of files takes long enough for somebody to begin to read one of them."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime <= used
    return True


def _write_whole(file: IO[bytes], write: Write) -> None:
    file.seek(0)
    write(file)
    file.truncate()  # where it is shorter than the room that was taken
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _no_promises() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PROMISES:
            raise


def _is_still(part: Path, file: IO[bytes]) -> bool:
    try:
        return part.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _no_room(folder: Path) -> Problem:
    return Problem(
        "CR-312",
        "the disk is full, or has no more than `keep_free_bytes` left",
        status=507,
        where=str(folder),
        remedy="Make room there; `warehouse_cache_bytes` says how much is kept when nothing of it is in use.",
    )
