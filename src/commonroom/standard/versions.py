"""The versions of the standard: this one and those before it, which follow from the declared changes.

Older record sets are brought up to date record by record, by the same declarations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from commonroom.problems import Problem, add_codes
from commonroom.standard.agreement import disagree
from commonroom.standard.changes import (
    Change,
    CodeRecoded,
    Draft,
    ItemAdded,
    ItemRemoved,
    ItemRenamed,
    Upgrade,
    kind_of,
)
from commonroom.standard.loader import FOLDER, load, read_declaration, with_events
from commonroom.standard.model import Standard

add_codes(
    {
        "CR-094": "The standard has no such version",
        "CR-095": "The envelope names another version of the standard than its letter",
    }
)

Record = dict[str, Any]
Records = dict[str, list[Record]]


class Difference(msgspec.Struct, frozen=True):
    """One declared change as people read it."""

    older: str
    newer: str
    kind: str
    place: str
    why: str
    breaks: str


class Note(msgspec.Struct, frozen=True):
    """What an upgrade could not keep: values of an item, counted, never told."""

    entity: str
    item: str
    records: int
    message: str
    remedy: str


class Upgraded(msgspec.Struct, frozen=True):
    """The parts of a record set in this program's version."""

    records: Records
    withdrawn: Records
    rekeyed: dict[str, list[dict[str, Record]]]
    notes: list[Note] = []


@cache
def upgrades(folder: Path = FOLDER) -> tuple[Upgrade, ...]:
    """The declared upgrades, oldest first, ending at the present version. Raises Problem CR-001 or CR-090."""
    found = {}
    for path in sorted((folder / "upgrades").glob("*.yaml")):
        upgrade = read_declaration(path, Upgrade)
        if path.stem != f"{upgrade.older}-to-{upgrade.newer}":
            remedy = f"Call it {upgrade.older}-to-{upgrade.newer}.yaml."
            disagree(path, ("older",), f"the file is called {path.stem}", remedy)
        found[upgrade.newer] = (path, upgrade)
    chain: list[Upgrade] = []
    version = load(folder).version
    while version in found:
        _, upgrade = found.pop(version)
        chain.insert(0, upgrade)
        version = upgrade.older
    for path, _ in found.values():
        remedy = "Let `newer` be the present version, or the older one of another upgrade."
        disagree(path, ("newer",), "it leads to no version", remedy)
    return tuple(chain)


def versions(folder: Path = FOLDER) -> tuple[str, ...]:
    """Every version this program knows, oldest first."""
    return (*(upgrade.older for upgrade in upgrades(folder)), load(folder).version)


@cache
def load_version(version: str, folder: Path = FOLDER) -> Standard:
    """The standard as it was in a version. Raises Problem CR-094 (404) for a version unknown here."""
    present = load(folder)
    if version == present.version:
        return present
    _check_known(version, folder)
    draft = Draft(dict(present.entities), dict(present.codesets))
    for upgrade in reversed(upgrades(folder)):
        _undo(upgrade, draft, folder)
        if upgrade.older == version:
            break
    return with_events(present, version, draft.entities, draft.codesets)


def differences(older: str, newer: str, folder: Path = FOLDER) -> list[Difference]:
    """What changed from one version to a later one, in order. Raises Problem CR-094."""
    for version in (older, newer):
        _check_known(version, folder)
    known = versions(folder)
    first, last = known.index(older), known.index(newer)
    if first > last:
        raise Problem(
            "CR-094",
            f"{older} came after {newer}.",
            status=404,
            remedy="Name the older version first.",
        )
    return [
        Difference(one.older, one.newer, kind_of(change), change.place, change.why, change.breaks)
        for one in upgrades(folder)[first:last]
        for change in one.changes
    ]


def check_dataschema(dataschema: str | None, version: str) -> None:
    """Raise Problem CR-095 when an envelope names another version than the record set in it."""
    if dataschema is not None and dataschema != f"urn:commonroom:standard:{version}":
        raise Problem(
            "CR-095",
            "The envelope and the record set in it do not name the same version of the standard.",
            where="ce-dataschema",
            remedy="Name the version of the record set in both.",
        )


def upgrade_records(
    version: str,
    records: Records,
    withdrawn: Records,
    rekeyed: dict[str, list[dict[str, Record]]],
    folder: Path = FOLDER,
) -> Upgraded:
    """The parts of a record set of that version, in the present one; the same objects where nothing changes.

    Raises Problem CR-094 for a version unknown here, a later one among them.
    """
    if version == load(folder).version:
        return Upgraded(records, withdrawn, rekeyed)
    steps = _steps(version, folder)
    if not steps.keys() & {*records, *withdrawn, *rekeyed}:
        return Upgraded(records, withdrawn, rekeyed)
    lost: dict[tuple[str, str], int] = {}
    changed = [
        {
            entity: [_apply(steps, entity, record, lost, whole=whole) for record in found]
            for entity, found in part.items()
        }
        for part, whole in ((records, True), (withdrawn, False))
    ]
    moved = {
        entity: [
            {end: _apply(steps, entity, key, {}, whole=False) for end, key in pair.items()} for pair in pairs
        ]
        for entity, pairs in rekeyed.items()
    }
    return Upgraded(
        changed[0], changed[1], moved, [_note(*place, count, version) for place, count in lost.items()]
    )


class _Step(msgspec.Struct, frozen=True):
    """What one change does to records of one entity."""

    renamed: tuple[str, str] | None = None
    removed: str | None = None
    added: tuple[str, str] | None = None
    recoded: tuple[tuple[str, ...], dict[str, str], frozenset[str]] | None = (
        None  # items, codes, codes merged
    )


@cache
def _steps(version: str, folder: Path) -> Mapping[str, tuple[_Step, ...]]:
    """By entity, what to do in order."""
    _check_known(version, folder)
    found: dict[str, list[_Step]] = {}
    known = versions(folder)
    for upgrade in upgrades(folder)[known.index(version) :]:
        newer = load_version(upgrade.newer, folder)
        for change in upgrade.changes:
            for entity, step in _steps_of(change, newer):
                found.setdefault(entity, []).append(step)
    return {entity: tuple(steps) for entity, steps in found.items()}


def _steps_of(change: Change, newer: Standard) -> list[tuple[str, _Step]]:
    match change:
        case ItemRenamed():
            return [(change.entity, _Step(renamed=(change.was, change.item)))]
        case ItemRemoved():
            return [(change.entity, _Step(removed=change.item.name))]
        case ItemAdded(value=str() as value):
            return [(change.entity, _Step(added=(change.item, value)))]
        case CodeRecoded():
            codes = {one.code: one.becomes for one in change.was}
            targets = list(codes.values())
            merged = frozenset(code for code, target in codes.items() if targets.count(target) > 1)
            using = {
                name: tuple(item.name for item in entity.items if item.codeset == change.codeset)
                for name, entity in newer.entities.items()
            }
            return [(name, _Step(recoded=(items, codes, merged))) for name, items in using.items() if items]
    return []


def _apply(
    steps: Mapping[str, tuple[_Step, ...]],
    entity: str,
    record: Record,
    lost: dict[tuple[str, str], int],
    *,
    whole: bool,
) -> Record:
    """One record in the present version. A key or a withdrawal gets no values that it lacked."""
    if entity not in steps or not isinstance(record, dict):
        return record
    changed = dict(record)
    for step in steps[entity]:
        if step.renamed and step.renamed[0] in changed:
            changed[step.renamed[1]] = changed.pop(step.renamed[0])
        if step.removed and changed.pop(step.removed, None) is not None:
            lost[entity, step.removed] = lost.get((entity, step.removed), 0) + 1
        if step.added and whole:
            changed.setdefault(*step.added)
        if step.recoded:
            _recode(step.recoded, entity, changed, lost)
    return changed


def _recode(
    recoded: tuple[tuple[str, ...], dict[str, str], frozenset[str]],
    entity: str,
    record: Record,
    lost: dict[tuple[str, str], int],
) -> None:
    items, codes, merged = recoded
    for item in items:
        value = record.get(item)
        if isinstance(value, str) and value in codes:
            record[item] = codes[value]
            if value in merged:
                lost[entity, item] = lost.get((entity, item), 0) + 1


def _note(entity: str, item: str, count: int, version: str) -> Note:
    number = "1 record" if count == 1 else f"{count:,} records"
    return Note(
        entity=entity,
        item=item,
        records=count,
        message=f"`{item}` of {number} says more in version {version} than the present one can hold.",
        remedy=f"See `commonroom standard diff {version} {load().version}`; send the present version.",
    )


def _undo(upgrade: Upgrade, draft: Draft, folder: Path) -> None:
    """Take an upgrade back, its last change first."""
    for place in reversed(range(len(upgrade.changes))):
        try:
            upgrade.changes[place].undo(draft)
        except LookupError as error:
            path = folder / "upgrades" / f"{upgrade.older}-to-{upgrade.newer}.yaml"
            detail = f"{upgrade.newer} does not fit: {error.args[0]}"
            disagree(path, ("changes", place), detail, "Name what the newer version has.")


def _check_known(version: str, folder: Path) -> None:
    known = versions(folder)
    if version not in known:
        raise Problem(
            "CR-094",
            f"this program knows the versions {', '.join(known)} of the standard.",
            status=404,
            remedy="Use one of them; a later one needs a later program.",
        )
