"""Whether the standard's declarations agree with themselves and with one another.

Each check raises Problem CR-090, which names the file, the line, the key and what to do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from commonroom import declarations
from commonroom.problems import Problem, add_codes
from commonroom.standard import identifiers
from commonroom.standard.holders import is_holder
from commonroom.standard.model import Codeset, Entity, Event, Item

add_codes({"CR-090": "The standard's declarations do not agree"})

# Names a record uses for itself, so no item may have them.
RECORD_FIELDS = ("version", "valid_from", "valid_to")
# What a decimal may have: as many digits as every engine's exact numbers hold.
MOST_DIGITS = 18
_NAMES_SHOWN = 20

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_EVENT_TYPE = re.compile(r"commonroom\.[a-z0-9]+(-[a-z0-9]+)*\.[a-z]+")
Steps = tuple[str | int, ...]


def check_codeset(path: Path, codeset: Codeset) -> None:
    """A code set has a name and codes, each once, with the attributes it declares."""
    _check_name(path, ("name",), codeset.name)
    if not codeset.codes:
        disagree(path, ("codes",), "there is no code", "Write at least one.")
    _check_unique(path, "codes", (code.code for code in codeset.codes))
    for place, code in enumerate(codeset.codes):
        _check_period(path, ("codes", place), code.since, code.until)
        if set(code.attributes) != set(codeset.attributes):
            expected = ", ".join(codeset.attributes) or "none"
            disagree(
                path, ("codes", place), "its attributes are not those declared", f"Give each: {expected}."
            )


def check_entity(
    path: Path, entity: Entity, codesets: Mapping[str, Codeset], areas: Mapping[str, str]
) -> None:
    """An entity stands in an area, its items are of known types, its key and holder are items."""
    _check_name(path, ("name",), entity.name)
    if entity.name in codesets:
        disagree(path, ("name",), "a code set has this name", "Give one of them another name.")
    if entity.area not in areas:
        disagree(path, ("area",), f"there is no area `{entity.area}`", f"Use one of: {', '.join(areas)}.")
    _check_unique(path, "items", (item.name for item in entity.items))
    for place, item in enumerate(entity.items):
        _check_item(path, place, item, codesets)
    if not entity.key:
        disagree(path, ("key",), "the key is empty", "Name the items that tell one record from another.")
    for place, name in enumerate(entity.key):
        item_of_key = entity.item(name)
        if item_of_key is None or not item_of_key.required:
            detail, remedy = f"`{name}` is not a required item", "Name an item with `required: true`."
            disagree(path, ("key", place), detail, remedy)
    _check_holder(path, entity)
    _check_valid_from_item(path, entity)


def check_event(path: Path, event: Event, entities: Mapping[str, Entity], areas: Mapping[str, str]) -> None:
    """An event carries known entities, or files of named kinds, and is no entity's own."""
    if not _EVENT_TYPE.fullmatch(event.type):
        remedy = "Write commonroom.<what>.<happened>, with hyphens."
        disagree(path, ("type",), "this is not a message type", remedy)
    if event.type in {own_event_type(name) for name in entities}:
        disagree(path, ("type",), "the entity has this event by itself", "Remove the file.")
    if bool(event.entities or event.areas) == bool(event.media_types):
        remedy = "Give `entities`, `areas` or both; or give `media_types` alone."
        disagree(path, ("entities",), "it is not said what the message carries", remedy)
    _check_known(path, "entities", event.entities, entities, "entity")
    _check_known(path, "areas", event.areas, areas, "area")


def own_event_type(entity: str) -> str:
    """The type of the message that tells of changes of one entity."""
    return f"commonroom.{entity.replace('_', '-')}.changed"


def disagree(path: Path, steps: Steps, detail: str, remedy: str) -> NoReturn:
    """Raise CR-090 for the value that `steps` lead to in the file."""
    line = declarations.line_at(path, steps)
    key = ".".join(str(step) for step in steps)
    raise Problem(
        "CR-090",
        f"{detail}.",
        where=f"{path}, line {line}, key {key}",
        remedy=remedy,
        extra={"file": str(path), "line": line, "key": key},
    )


def _check_holder(path: Path, entity: Entity) -> None:
    if entity.holder is None:
        return
    item = entity.item(entity.holder)
    if item is None or entity.holder not in entity.key or not is_holder(item):
        remedy = (
            "Name an item of the key that is a number of a school, an authority, a provider or an employer."
        )
        disagree(path, ("holder",), f"`{entity.holder}` does not say whose record it is", remedy)


def _check_valid_from_item(path: Path, entity: Entity) -> None:
    if entity.valid_from_item is None:
        return
    item = entity.item(entity.valid_from_item)
    if item is None or item.type != "date" or item.name not in entity.key:
        disagree(
            path,
            ("valid_from_item",),
            f"`{entity.valid_from_item}` is not a date of the key",
            "Name a date item that stands in `key`, or leave it out.",
        )


def _check_item(path: Path, place: int, item: Item, codesets: Mapping[str, Codeset]) -> None:
    where = ("items", place)
    _check_name(path, (*where, "name"), item.name)
    if item.name in RECORD_FIELDS:
        disagree(path, (*where, "name"), f"`{item.name}` is a field of every record", "Use another name.")
    _check_belongs(path, where, item, "codeset", item.codeset, "code", sorted(codesets))
    _check_belongs(path, where, item, "identifier", item.identifier, "identifier", identifiers.KINDS)
    if (item.type == "string") != (item.max_length is not None):
        remedy = "Give `max_length` to strings and to nothing else."
        disagree(path, where, "only a string has a length", remedy)
    _check_digits(path, where, item)
    _check_period(path, where, item.since, item.until)


def _check_digits(path: Path, where: Steps, item: Item) -> None:
    if item.type != "decimal":
        if item.digits is not None or item.decimals is not None:
            disagree(
                path, where, "only a decimal has digits", "Give `digits` and `decimals` to decimals only."
            )
        return
    digits, decimals = item.digits or 0, item.decimals or 0
    if not 0 < decimals < digits <= MOST_DIGITS:
        remedy = f"Give `digits`, at most {MOST_DIGITS}, and fewer `decimals`, at least 1."
        disagree(path, where, "a decimal needs its digits", remedy)


def _check_belongs(
    path: Path, where: Steps, item: Item, key: str, value: str | None, of_type: str, known: Iterable[str]
) -> None:
    """A `codeset` goes with type `code`, an `identifier` with type `identifier`, and each must be known."""
    if (item.type == of_type) != (value is not None):
        disagree(path, where, f"`{key}` goes with type `{of_type}`", f"Give `{key}` to such items only.")
    if value is not None and value not in known:
        disagree(path, (*where, key), f"there is no {key} `{value}`", f"{_choices(value, known)} Or add it.")


def _check_known(path: Path, key: str, names: Iterable[str], known: Iterable[str], what: str) -> None:
    for place, name in enumerate(names):
        if name not in known:
            disagree(path, (key, place), f"there is no {what} `{name}`", _choices(name, known))


def _choices(value: str, known: Iterable[str]) -> str:
    """The names there are; of very many, those that look like the one asked for."""
    names = list(known)
    if len(names) > _NAMES_SHOWN:
        names = get_close_matches(value, names, n=5, cutoff=0.3)
        return f"Such as: {', '.join(names)}; see `commonroom standard list`."
    return f"Use one of: {', '.join(names)}."


def _check_name(path: Path, where: Steps, name: str) -> None:
    if not _NAME.fullmatch(name):
        disagree(path, where, f"`{name}` is not a name", "Use lower case letters, digits and underscores.")


def _check_unique(path: Path, key: str, names: Iterable[str]) -> None:
    listed = list(names)
    counts = Counter(listed)
    for place, name in enumerate(listed):
        if counts[name] > 1 and name in listed[:place]:
            disagree(path, (key, place), f"`{name}` stands twice", "Keep one of them.")


def _check_period(path: Path, where: Steps, since: object, until: object) -> None:
    if since is not None and until is not None and str(until) < str(since):
        disagree(path, where, "it ends before it begins", "Put `since` on or before `until`.")
