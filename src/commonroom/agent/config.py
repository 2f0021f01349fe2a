"""The configuration of one agent: which hub, which school system, where its own memory lies.

```yaml
name: Oak Primary
hub: https://hub.example.org
folder: state                  # agent.sqlite, key.pem and status.json; made when missing
school: "990001"               # URN, bound to :school in the mapping's queries
enrolment_code: ABCD-EFGH      # used once
look_every_seconds: 60
encrypt: end-to-end            # or leave it out
verify: required               # or when_signed, or leave it out
source: {url: "sqlite:///mis.db", mapping: mapping.yaml}
store: {url: "sqlite:///received.db", mapping: store.yaml}
```

Relative paths are relative to the configuration file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from commonroom import declarations
from commonroom.exchange.client import Verify
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-070": "The agent is not set up rightly",
        "CR-071": "The agent is not enrolled",
        "CR-072": "The school system cannot be read",
        "CR-073": "The store cannot be written",
        "CR-074": "Another process runs this agent",
    }
)

FILE_NAME = "agent.yaml"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    mapping: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    hub: Annotated[str, msgspec.Meta(pattern="^https?://")]
    folder: str
    school: Annotated[str, msgspec.Meta(pattern="^[0-9]{6}$")] | None = None
    enrolment_code: str | None = None
    source: _Link | None = None
    store: _Link | None = None
    look_every_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60
    encrypt: Literal["end-to-end"] | None = None
    verify: Verify | None = None


class Link(msgspec.Struct, frozen=True):
    """A database and the mapping file that explains it."""

    url: URL  # SQLAlchemy; SQLite paths are absolute
    mapping: Path


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. All paths are absolute."""

    file: Path
    name: str
    hub: str  # no slash at the end
    folder: Path  # agent.sqlite, key.pem, status.json
    school: str | None  # URN
    enrolment_code: str | None
    source: Link | None  # where changes are noticed
    store: Link | None  # where received messages are loaded
    look_every_seconds: float
    encrypt: Literal["end-to-end"] | None  # what is sent goes encrypted to its recipients, or not at all
    verify: Verify | None  # which letters must bear a right signature of their sender to be loaded

    @property
    def memory_file(self) -> Path:
        """The SQLite file with what the agent has seen and what it still has to send."""
        return self.folder / "agent.sqlite"

    @property
    def key_file(self) -> Path:
        """The agent's own private key."""
        return self.folder / "key.pem"


def load(path: Path) -> Config:
    """Read one configuration. Raises Problem CR-001 (file, line, key) or CR-070."""
    path = path.absolute()
    found = declarations.load(path, _File)
    if found.source is None and found.store is None:
        raise _problem(path, "it names neither a source nor a store", "Add `source:`, `store:` or both.")
    return Config(
        file=path,
        name=found.name,
        hub=found.hub.rstrip("/"),
        folder=path.parent / found.folder,
        school=found.school,
        enrolment_code=_expand(path, found.enrolment_code) if found.enrolment_code else None,
        source=_link(path, found.source),
        store=_link(path, found.store),
        look_every_seconds=found.look_every_seconds,
        encrypt=found.encrypt,
        verify=found.verify,
    )


def find_all(folder: Path) -> list[Path]:
    """Every `<folder>/*/agent.yaml`, in the order of their names, and nothing else."""
    if not folder.is_dir():
        raise Problem("CR-070", "there is no such folder", where=str(folder), remedy="Check the path.")
    return sorted(folder.glob(f"*/{FILE_NAME}"))


def _link(path: Path, link: _Link | None) -> Link | None:
    if link is None:
        return None
    try:
        url = make_url(_expand(path, link.url))
    except ArgumentError as error:
        # The address may hold a password, so it is not repeated.
        remedy = "Write it as SQLAlchemy does: sqlite:///school.db."
        raise _problem(path, "a database address is not one", remedy) from error
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise _problem(path, "a SQLite address names no file", "Write sqlite:///school.db.")
        url = url.set(database=str(path.parent / url.database))
    return Link(url=url, mapping=path.parent / link.mapping)


def _expand(path: Path, text: str) -> str:
    """`${NAME}` becomes the environment variable, so that no password need stand in the file."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise _problem(
                path, f"the environment variable {match[1]} is not set", "Set it, or remove ${...}."
            )
        return os.environ[match[1]]

    return _VARIABLE.sub(value, text)


def _problem(path: Path, detail: str, remedy: str) -> Problem:
    return Problem("CR-070", detail, where=str(path), remedy=remedy)
