"""Files that survive a power cut: written under another name, synced, renamed; and syncing of what others wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that after a crash the file is the old one or the new one, never a part of either."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync_one(path.parent)


def sync(paths: Iterable[Path]) -> None:
    """Force files that others wrote, and the folders that name them, onto the disk."""
    files = list(paths)
    for path in files:
        _sync_one(path)
    for folder in {path.parent for path in files}:
        _sync_one(folder)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
