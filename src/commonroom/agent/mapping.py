"""Mappings: how one vendor's tables become the common language, and how received records enter a store.

A mapping is data: SQL that names its columns as the standard names its items, and lists of codes. Nothing in it can
change the school's database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from commonroom import declarations
from commonroom.problems import Problem
from commonroom.standard import Entity, Standard

WINDOW_START = "window_start"
SCHOOL = "school"
PARAMETERS = (SCHOOL, WINDOW_START)
TRANSFER_COLUMNS = ("upn", "leaving_date", "destination")

# The same pattern by which SQLAlchemy's text() finds bind parameters.
_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
_NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
Name = Annotated[str, Meta(pattern=_NAME)]


class BooleanWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the vendor's values mean yes and which mean no."""

    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()


class Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One query that shows the records of one entity."""

    entity: str
    # Column names are item names, besides `valid_from` and `valid_to`. May use :school and :window_start.
    query: str
    # full: every row of the history is shown. current: only the present row of each key is shown.
    history: Literal["full", "current"]
    # Rows older than this many days before the newest known one are read only in the daily full look.
    window_days: Annotated[int, Meta(ge=1, le=3660)] | None = None
    # item -> vendor's value -> standard's value; a value not listed is left as it is (and checked as such)
    codes: dict[str, dict[str, str]] = {}
    dates: dict[str, str] = {}  # item -> strptime format
    booleans: dict[str, BooleanWords] = {}

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that the query uses."""
        return parameters(self.query)


class Transfers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query that shows leavers with the school they went to: columns upn, leaving_date, destination."""

    query: str


class SourceMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vendor's mapping file."""

    mapping: str  # its name, for people
    reads: tuple[Read, ...]
    transfers: Transfers | None = None


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the records of one entity go. The table also has valid_from, record_version, withdrawn and sender."""

    entity: str
    table: Name
    columns: dict[str, Name]  # item -> column; items not named are not stored


class StoreMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mapping of a store."""

    loads: tuple[Load, ...]
    mapping: str | None = None


def load_source(path: Path, standard: Standard) -> SourceMapping:
    """Read and check a source mapping. Raises Problem CR-001 (file, line, key)."""
    found = declarations.load(path, SourceMapping)
    for number, read in enumerate(found.reads):
        _check_read(path, number, read, standard)
        if read.entity in {earlier.entity for earlier in found.reads[:number]}:
            # What one query does not show counts as withdrawn, so the two would undo each other.
            detail = f"{read.entity} is read twice; join the queries with UNION ALL"
            raise _problem(path, read.entity, detail, f"reads[{number}].entity")
    if found.transfers is not None:
        _check_parameters(path, "transfers:", found.transfers.query, "transfers.query")
    return found


def load_store(path: Path, standard: Standard) -> StoreMapping:
    """Read and check a store mapping. Raises Problem CR-001 (file, line, key)."""
    found = declarations.load(path, StoreMapping)
    for number, load in enumerate(found.loads):
        place = f"loads[{number}]"
        entity = _entity(path, load.entity, place, standard)
        _check_items(path, entity, load.columns, f"{place}.columns")
        if missing := [item for item in entity.key if item not in load.columns]:
            raise _problem(
                path, load.table, f"key items without a column: {', '.join(missing)}", f"{place}.columns"
            )
    return found


def parameters(query: str) -> frozenset[str]:
    """The names of the bind parameters in this SQL."""
    return frozenset(_PARAMETER.findall(query))


def _check_read(path: Path, number: int, read: Read, standard: Standard) -> None:
    place = f"reads[{number}]"
    entity = _entity(path, read.entity, place, standard)
    for key in ("codes", "dates", "booleans"):
        _check_items(path, entity, getattr(read, key), f"{place}.{key}")
    _check_parameters(path, read.entity, read.query, f"{place}.query")
    if read.window_days is None:
        if WINDOW_START in read.parameters:
            raise _problem(
                path,
                read.entity,
                "the query uses :window_start but there is no window_days",
                f"{place}.query",
            )
    elif entity.valid_from_item is None:
        # A window is safe only where an old date can never describe the present.
        raise _problem(
            path, read.entity, f"window_days cannot be used for {read.entity}", f"{place}.window_days"
        )
    elif WINDOW_START not in read.parameters:
        raise _problem(path, read.entity, "window_days needs :window_start in the query", f"{place}.query")


def _entity(path: Path, name: str, place: str, standard: Standard) -> Entity:
    if name not in standard.entities:
        known = ", ".join(sorted(standard.entities))
        raise _problem(
            path, name, f"{name!r} is not an entity of the standard; it has {known}", f"{place}.entity"
        )
    return standard.entities[name]


def _check_items(path: Path, entity: Entity, items: Mapping[str, object], key: str) -> None:
    known = {item.name for item in entity.items} | {"valid_from", "valid_to"} | set(entity.key)
    for name in items:
        if name not in known:
            raise _problem(path, name, f"{entity.name} has no item {name!r}", f"{key}.{name}")


def _check_parameters(path: Path, near: str, query: str, key: str) -> None:
    for name in sorted(parameters(query) - set(PARAMETERS)):
        detail = f"the query uses :{name}; only :school and :window_start are known"
        raise _problem(path, f":{name}", detail, key)


def _problem(path: Path, near: str, detail: str, key: str) -> Problem:
    """CR-001 with the line on which `near` first stands."""
    lines = path.read_text("utf-8").splitlines()
    line = next((number for number, text in enumerate(lines, 1) if near in text), 1)
    where = f"{path}, line {line}, key {key}"
    return Problem("CR-001", detail, where=where, extra={"file": str(path), "line": line, "key": key})
