"""Reads the standard's declarations, proves that they agree, and remembers the result.

A standard with a fault is never used in part. What was read is kept beside the program, as Python keeps what it
compiled, so that a process starts without parsing a megabyte of YAML; any change of a file makes it be read anew.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from commonroom import declarations
from commonroom.ids import uuid7
from commonroom.problems import Problem, add_codes
from commonroom.standard import agreement, model
from commonroom.standard.agreement import disagree, own_event_type
from commonroom.standard.model import Codeset, Entity, Event, Standard

add_codes({"CR-091": "The standard has no such name"})

FOLDER = Path(__file__).parent
T = TypeVar("T")


class _Cover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file standard.yaml: which version all the others are, and the areas that entities stand in."""

    version: str
    title: str
    description: str
    areas: dict[str, str]


def load(folder: Path = FOLDER) -> Standard:
    """The standard in `folder`, by default the one this program carries. Raises Problem CR-001 or CR-090."""
    return _loaded(folder)


def load_anew(folder: Path) -> Standard:
    """As `load` does in a process that has loaded nothing yet."""
    memory = folder / "__pycache__" / f"standard-{_digest(folder)}.msgpack"
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.msgpack.decode(memory.read_bytes(), type=Standard)
    standard = _read_standard(folder)
    with contextlib.suppress(OSError):
        _remember(memory, standard)
    return standard


_loaded = cache(load_anew)


def named(found: dict[str, T], name: str, what: str) -> T:
    """`found[name]`, or Problem CR-091 (404) that lists the names there are. `what` is such as `entity`."""
    try:
        return found[name]
    except KeyError as error:
        raise Problem(
            "CR-091",
            f"the standard has no {what} of that name.",
            status=404,
            remedy=f"Use one of: {', '.join(sorted(found))}.",
        ) from error


def with_events(
    standard: Standard, version: str, entities: dict[str, Entity], codesets: dict[str, Codeset]
) -> Standard:
    """A version with these entities and code sets: its events carry them and no others, each entity has its own."""
    shared = [event for event in standard.events.values() if event.type not in _own_types(standard.entities)]
    listed = [*map(_own_event, entities.values()), *(_whole(event, entities) for event in shared)]
    events = {event.type: event for event in sorted(listed, key=lambda event: event.type)}
    return msgspec.structs.replace(
        standard, version=version, entities=entities, codesets=codesets, events=events
    )


def read_declaration(path: Path, kind: type[T]) -> T:
    """One declaration of the standard. Raises Problem CR-001 with a remedy."""
    try:
        return declarations.load(path, kind)
    except Problem as problem:
        remedy = problem.remedy or "docs/standard.md says which keys such a file has."
        raise Problem(
            problem.code, problem.detail, where=problem.where, remedy=remedy, extra=problem.extra
        ) from problem


def _read_standard(folder: Path) -> Standard:
    cover = read_declaration(folder / "standard.yaml", _Cover)
    codesets = _read_all(folder / "codesets", Codeset, lambda codeset: codeset.name, agreement.check_codeset)
    entities = _read_all(
        folder / "entities",
        Entity,
        lambda entity: entity.name,
        lambda path, entity: agreement.check_entity(path, entity, codesets, cover.areas),
    )
    events = _read_all(
        folder / "events",
        Event,
        lambda event: event.type,
        lambda path, event: agreement.check_event(path, event, entities, cover.areas),
    )
    plain = Standard(cover.version, cover.title, cover.description, cover.areas, codesets, entities, events)
    return with_events(plain, cover.version, entities, codesets)


def _read_all(
    folder: Path, kind: type[T], name_of: Callable[[T], str], agree: Callable[[Path, T], None]
) -> dict[str, T]:
    """Every file of a folder by name, checked; file names and names inside must be the same."""
    found: dict[str, T] = {}
    for path in sorted(folder.glob("*.yaml")):
        value = read_declaration(path, kind)
        name = name_of(value)
        if name != path.stem:
            key = "type" if kind is Event else "name"
            disagree(path, (key,), f"the file is called {path.stem}", f"Write `{key}: {path.stem}`.")
        agree(path, value)
        found[name] = value
    return found


def _own_types(entities: Iterable[str]) -> set[str]:
    return set(map(own_event_type, entities))


def _own_event(entity: Entity) -> Event:
    return Event(
        type=own_event_type(entity.name),
        title=f"{entity.title} changed",
        description=f"New, corrected or withdrawn records. {entity.description}",
        entities=(entity.name,),
    )


def _whole(event: Event, entities: dict[str, Entity]) -> Event:
    """The event with the entities of its areas written out, and only those there are."""
    of_areas: Iterable[str] = (name for name, entity in entities.items() if entity.area in event.areas)
    named = (name for name in event.entities if name in entities)
    return msgspec.structs.replace(event, entities=tuple(dict.fromkeys((*named, *of_areas))))


def _digest(folder: Path) -> str:
    """A digest of every file of the standard, and of the shapes it is read into."""
    digest = hashlib.blake2b(digest_size=16)
    for path in (*sorted(folder.rglob("*.yaml")), Path(model.__file__), Path(__file__)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _remember(memory: Path, standard: Standard) -> None:
    """Write it whole or not at all, and let go of what was remembered of other states."""
    memory.parent.mkdir(exist_ok=True)
    part = memory.with_suffix(f".{uuid7()}")
    part.write_bytes(msgspec.msgpack.encode(standard))
    part.replace(memory)
    for other in memory.parent.glob("standard-*.msgpack"):
        if other != memory:
            other.unlink(missing_ok=True)
