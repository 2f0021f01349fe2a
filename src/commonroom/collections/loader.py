"""Reads a collection's declarations, lays each year over the one it inherits, and proves that they agree.

A fault names the file, the line, the key and what to do; a collection with a fault is never used in part.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from commonroom import declarations
from commonroom.collections import agreement, overlay
from commonroom.collections.file_model import FileMap
from commonroom.collections.live_model import LiveFile
from commonroom.collections.model import Collection, Cover, Rule, RuleFile
from commonroom.problems import Problem, add_codes

add_codes({"CR-181": "There is no such collection"})

DEFINITIONS = Path(__file__).parent / "definitions"
# Folders of definitions beside those that come with the program, such as an authority's own collections.
VARIABLE = "COMMONROOM_COLLECTIONS"


def roots() -> tuple[Path, ...]:
    """The folders that are searched for collections, in order."""
    own = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    return (*own, DEFINITIONS)


def names(folders: Sequence[Path] | None = None) -> list[str]:
    """The names of all collections."""
    found = {cover.parents[1].name for cover in _covers(folders)}
    return sorted(found)


def years(name: str, folders: Sequence[Path] | None = None) -> list[int]:
    """The years of a collection, oldest first; none for a name nobody declares."""
    return sorted({int(cover.parent.name) for cover in _covers(folders) if cover.parents[1].name == name})


def load(
    name: str, year: int, folders: Sequence[Path] | None = None, local_rules: Sequence[Path] = ()
) -> Collection:
    """One collection of one year, complete. Raises Problem CR-001, CR-180 or CR-181.

    `local_rules` are files of further rules, such as an authority's own for its schools; their codes must be new.
    """
    return _load(name, year, tuple(folders or roots()), tuple(local_rules))


@cache
def _load(name: str, year: int, folders: tuple[Path, ...], local_rules: tuple[Path, ...]) -> Collection:
    layers = _layers(name, year, folders)
    collection = overlay.join(layers)
    places = {code: place for layer in layers for code, place in layer.places.items()}
    for path in local_rules:
        local = rules_of(path)
        agreement.check_new(path, local, collection)
        own = {rule.code: msgspec.structs.replace(rule, source=str(path)) for rule in local}
        collection = msgspec.structs.replace(collection, rules={**collection.rules, **own})
        places |= {rule.code: (path, index) for index, rule in enumerate(local)}
    agreement.check(collection, layers[-1].path, places)
    return collection


def forget() -> None:
    """Read the declarations anew when they are next asked for: files have changed."""
    _load.cache_clear()
    _layer.cache_clear()


def rules_of(path: Path) -> tuple[Rule, ...]:
    """The rules of one file."""
    return declarations.load(path, RuleFile).rules


def _covers(folders: Sequence[Path] | None) -> list[Path]:
    found = [path for folder in folders or roots() for path in sorted(folder.glob("*/*/collection.yaml"))]
    return [path for path in found if path.parent.name.isdigit()]


def _layers(name: str, year: int, folders: tuple[Path, ...]) -> list[overlay.Layer]:
    """The year's own declarations last, before them what they inherit."""
    found: list[overlay.Layer] = []
    seen: set[tuple[str, int]] = set()
    following: tuple[str, int] | None = (name, year)
    while following is not None:
        if following in seen:
            raise agreement.fault(found[0].path, ("inherits",), "it inherits from itself", "Name another.")
        seen.add(following)
        layer = _layer(_folder(*following, folders))
        found.insert(0, layer)
        following = layer.inherited
    return found


def _folder(name: str, year: int, folders: tuple[Path, ...]) -> Path:
    for root in folders:
        if (root / name / str(year) / "collection.yaml").is_file():
            return root / name / str(year)
    known = years(name, folders)
    remedy = f"Years of it: {', '.join(map(str, known))}." if known else f"Use one of: {_known(folders)}."
    raise Problem("CR-181", f"there is no collection {name} of the year {year}.", status=404, remedy=remedy)


def _known(folders: Sequence[Path]) -> str:
    return ", ".join(names(folders)) or "none is declared"


@cache
def _layer(folder: Path) -> overlay.Layer:
    """What one folder declares; those who inherit it share its rules."""
    path = folder / "collection.yaml"
    cover = declarations.load(path, Cover)
    if (cover.name, str(cover.year)) != (folder.parent.name, folder.name):
        raise agreement.fault(
            path, ("name",), f"the folder is {folder.parent.name}/{folder.name}", "Write its name and year."
        )
    map_path = folder / "map.yaml"
    files = declarations.load(map_path, FileMap) if map_path.exists() else None
    live_path = folder / "live.yaml"
    live = declarations.load(live_path, LiveFile).sources if live_path.exists() else {}
    rules: dict[str, Rule] = {}
    places: dict[str, tuple[Path, int]] = {}
    for rule_path in (*folder.glob("rules.yaml"), *sorted(folder.glob("rules/*.yaml"))):
        for index, rule in enumerate(rules_of(rule_path)):
            if rule.code in rules:
                raise agreement.fault(
                    rule_path, ("rules", index), f"the rule {rule.code} stands twice", "Keep one."
                )
            rules[rule.code] = rule
            places[rule.code] = (rule_path, index)
    return overlay.Layer(path, cover, files, rules, places, live)
