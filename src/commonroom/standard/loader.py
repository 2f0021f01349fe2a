"""Reads the standard's declarations and proves that they agree with one another.

A fault names the file, the line, the key and what to do; a standard with a fault is never used in part.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec
import yaml

from commonroom import declarations
from commonroom.problems import Problem, add_codes
from commonroom.standard import identifiers
from commonroom.standard.model import Codeset, Entity, Event, Item, Standard

add_codes(
    {
        "CR-090": "The standard's declarations do not agree",
        "CR-091": "The standard has no such name",
    }
)

FOLDER = Path(__file__).parent
# Names a record uses for itself, so no item may have them.
RECORD_FIELDS = ("version", "valid_from", "valid_to")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_EVENT_TYPE = re.compile(r"commonroom\.[a-z]+(-[a-z]+)*\.[a-z]+")
T = TypeVar("T")


class _Cover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file standard.yaml: which version all the others are."""

    version: str
    title: str
    description: str


@cache
def load(folder: Path = FOLDER) -> Standard:
    """The standard in `folder`, by default the one this program carries. Raises Problem CR-001 or CR-090."""
    cover = _read(folder / "standard.yaml", _Cover)
    codesets = _read_all(folder / "codesets", Codeset, lambda codeset: codeset.name, _check_codeset)
    entities = _read_all(
        folder / "entities",
        Entity,
        lambda entity: entity.name,
        lambda path, e: _check_entity(path, e, codesets),
    )
    events = _read_all(
        folder / "events", Event, lambda event: event.type, lambda path, e: _check_event(path, e, entities)
    )
    return Standard(cover.version, cover.title, cover.description, codesets, entities, events)


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


def _read(path: Path, kind: type[T]) -> T:
    try:
        return declarations.load(path, kind)
    except Problem as problem:
        remedy = problem.remedy or "docs/standard.md says which keys such a file has."
        raise Problem(
            problem.code, problem.detail, where=problem.where, remedy=remedy, extra=problem.extra
        ) from problem


def _read_all(
    folder: Path, kind: type[T], name_of: Callable[[T], str], agree: Callable[[Path, T], None]
) -> dict[str, T]:
    """Every file of a folder by name, checked; file names and names inside must be the same."""
    found: dict[str, T] = {}
    for path in sorted(folder.glob("*.yaml")):
        value = _read(path, kind)
        name = name_of(value)
        if name != path.stem:
            key = "type" if kind is Event else "name"
            _disagree(path, (key,), f"the file is called {path.stem}", f"Write `{key}: {path.stem}`.")
        agree(path, value)
        found[name] = value
    return found


def _check_codeset(path: Path, codeset: Codeset) -> None:
    _check_name(path, ("name",), codeset.name)
    if not codeset.codes:
        _disagree(path, ("codes",), "there is no code", "Write at least one.")
    _check_unique(path, "codes", (code.code for code in codeset.codes))
    for place, code in enumerate(codeset.codes):
        _check_period(path, ("codes", place), code.since, code.until)
        if set(code.attributes) != set(codeset.attributes):
            expected = ", ".join(codeset.attributes) or "none"
            _disagree(
                path, ("codes", place), "its attributes are not those declared", f"Give each: {expected}."
            )


def _check_entity(path: Path, entity: Entity, codesets: dict[str, Codeset]) -> None:
    _check_name(path, ("name",), entity.name)
    _check_unique(path, "items", (item.name for item in entity.items))
    for place, item in enumerate(entity.items):
        _check_item(path, place, item, codesets)
    if not entity.key:
        _disagree(path, ("key",), "the key is empty", "Name the items that tell one record from another.")
    for place, name in enumerate(entity.key):
        item_of_key = entity.item(name)
        if item_of_key is None or not item_of_key.required:
            _disagree(
                path,
                ("key", place),
                f"`{name}` is not a required item",
                "Name an item with `required: true`.",
            )
    _check_valid_from_item(path, entity)


def _check_valid_from_item(path: Path, entity: Entity) -> None:
    if entity.valid_from_item is None:
        return
    item = entity.item(entity.valid_from_item)
    if item is None or item.type != "date" or item.name not in entity.key:
        _disagree(
            path,
            ("valid_from_item",),
            f"`{entity.valid_from_item}` is not a date of the key",
            "Name a date item that stands in `key`, or leave it out.",
        )


def _check_item(path: Path, place: int, item: Item, codesets: dict[str, Codeset]) -> None:
    where = ("items", place)
    _check_name(path, (*where, "name"), item.name)
    if item.name in RECORD_FIELDS:
        _disagree(path, (*where, "name"), f"`{item.name}` is a field of every record", "Use another name.")
    _check_belongs(path, where, item, "codeset", item.codeset, "code", sorted(codesets))
    _check_belongs(path, where, item, "identifier", item.identifier, "identifier", identifiers.KINDS)
    if (item.type == "string") != (item.max_length is not None):
        _disagree(
            path, where, "only a string has a length", "Give `max_length` to strings and to nothing else."
        )
    _check_period(path, where, item.since, item.until)


def _check_belongs(
    path: Path,
    where: tuple[str | int, ...],
    item: Item,
    key: str,
    value: str | None,
    of_type: str,
    known: Iterable[str],
) -> None:
    """A `codeset` goes with type `code`, an `identifier` with type `identifier`, and each must be known."""
    if (item.type == of_type) != (value is not None):
        _disagree(path, where, f"`{key}` goes with type `{of_type}`", f"Give `{key}` to such items only.")
    if value is not None and value not in known:
        _disagree(
            path, (*where, key), f"there is no {key} `{value}`", f"Use one of: {', '.join(known)}; or add it."
        )


def _check_event(path: Path, event: Event, entities: dict[str, Entity]) -> None:
    if not _EVENT_TYPE.fullmatch(event.type):
        _disagree(
            path, ("type",), "this is not a message type", "Write commonroom.<what>.<happened>, with hyphens."
        )
    if not event.entities:
        _disagree(path, ("entities",), "there is no entity", "Name at least one.")
    for place, name in enumerate(event.entities):
        if name not in entities:
            _disagree(
                path,
                ("entities", place),
                f"there is no entity `{name}`",
                f"Use one of: {', '.join(sorted(entities))}.",
            )


def _check_name(path: Path, where: tuple[str | int, ...], name: str) -> None:
    if not _NAME.fullmatch(name):
        _disagree(path, where, f"`{name}` is not a name", "Use lower case letters, digits and underscores.")


def _check_unique(path: Path, key: str, names: Iterable[str]) -> None:
    listed = list(names)
    counts = Counter(listed)
    for place, name in enumerate(listed):
        if counts[name] > 1 and name in listed[:place]:
            _disagree(path, (key, place), f"`{name}` stands twice", "Keep one of them.")


def _check_period(path: Path, where: tuple[str | int, ...], since: object, until: object) -> None:
    if since is not None and until is not None and str(until) < str(since):
        _disagree(path, where, "it ends before it begins", "Put `since` on or before `until`.")


def _disagree(path: Path, steps: tuple[str | int, ...], detail: str, remedy: str) -> NoReturn:
    """Raise CR-090 for the value that `steps` lead to in the file."""
    line = _line_of(path, steps)
    key = ".".join(str(step) for step in steps)
    raise Problem(
        "CR-090",
        f"{detail}.",
        where=f"{path}, line {line}, key {key}",
        remedy=remedy,
        extra={"file": str(path), "line": line, "key": key},
    )


def _line_of(path: Path, steps: tuple[str | int, ...]) -> int:
    """The line of the deepest value on the way that the file has. Reads the file anew: only faults need it."""
    node = yaml.compose(path.read_text("utf-8"), Loader=yaml.BaseLoader)
    line = 1
    for step in (None, *steps):
        node = node if step is None else _below(node, step)
        if node is None:
            break
        line = node.start_mark.line + 1
    return line


def _below(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(step, int):
        return node.value[step] if isinstance(node, yaml.SequenceNode) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None
