"""What a conformance run found, written to a file that this sandbox signs; `exchange.conformance` has its form.

The file gives no level of protection: that is an operator's judgement, who records it with
`commonroom hub evidence add --file`.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from commonroom.exchange import conformance, keys
from commonroom.exchange.conformance import KEY_FILE, Result, Statement
from commonroom.settings import Settings

__all__ = ["KEY_FILE", "read", "write"]


def write(settings: Settings, result: Result, path: Path) -> str:
    """Sign the result and write the file; its SHA-256 in hex, which names it in evidence."""
    key = keys.load_or_create(settings.folder("keys") / KEY_FILE)
    statement = Statement(software=version("commonroom"), passed=result.passed, result=result)
    whole = conformance.sign(statement, key)
    path.write_bytes(whole)
    return hashlib.sha256(whole).hexdigest()


def read(path: Path, trusted: Literal["any"] | dict[str, str]) -> Statement:
    """The statement in a file that is rightly signed. Raises Problem CR-173."""
    return conformance.read(path, trusted).statement
