"""What changed between the agent's last look and this one. Pure: known facts and fresh ones in, changes out.

A fact is a record of one natural key from one `valid_from`. Every message about it carries a version that rises with the
key; receivers keep the highest, so the order of arrival never matters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from commonroom.agent.translate import Record

History = Literal["full", "current"]


class Known(NamedTuple):
    """One fact as the agent remembers it. A tuple, because a look makes one of every row it knows."""

    key: str  # the key items as a JSON array
    valid_from: str
    version: int
    live: int  # 0: withdrawn; kept so that a return has a higher version
    row: bytes | None  # digest of the source row that shows it; None: the source shows it no longer
    content: bytes  # digest of the record


class Fresh(msgspec.Struct, frozen=True):
    """One usable record whose source row is new or different since the last look."""

    key: str
    valid_from: str
    row: bytes
    content: bytes
    record: Record


class Sent(msgspec.Struct, frozen=True):
    """A fact to send: new, corrected, or back after a withdrawal."""

    fresh: Fresh
    version: int
    kind: Literal["new", "corrected"]


class Withdrawn(msgspec.Struct, frozen=True):
    """A fact the source shows no longer."""

    key: str
    valid_from: str
    version: int


class Changes(msgspec.Struct, frozen=True):
    """Everything one look found about one entity."""

    sent: list[Sent] = []
    withdrawn: list[Withdrawn] = []
    reread: list[Fresh] = []  # the row is written differently, the record is the same: nothing to send
    hidden: list[Known] = []  # history `current`: overtaken by a later fact; still true, no longer shown
    clashes: list[Fresh] = []  # two rows for one fact: neither can be believed

    @property
    def count(self) -> int:
        """How many facts a message will speak of."""
        return len(self.sent) + len(self.withdrawn)


def compare(
    history: History,
    known: Sequence[Known],
    shown: Collection[bytes],
    fresh: Sequence[Fresh],
    held: Collection[str] = (),
    versions_from: int = 0,
) -> Changes:
    """Compare the facts known with what the source shows.

    `shown` are the digests of all rows the source shows now; `fresh` the usable records among those not known before;
    `held` the keys that have an unusable row: nothing of theirs is withdrawn because of what is missing. The versions of
    a key that is not known begin after `versions_from`.
    """
    gone = [fact for fact in known if fact.row is not None and fact.row not in shown]
    if not fresh and not gone:
        return Changes()
    touched = {fact.key for fact in gone} | {record.key for record in fresh}
    facts_by_key = _by_key(fact for fact in known if fact.key in touched)
    fresh_by_key: dict[str, list[Fresh]] = defaultdict(list)
    for record in fresh:
        fresh_by_key[record.key].append(record)
    changes = Changes([], [], [], [], [])
    for key in sorted(touched):
        version = max((fact.version for fact in facts_by_key[key]), default=versions_from)
        _compare_key(history, facts_by_key[key], shown, fresh_by_key[key], key in held, version, changes)
    return changes


def _by_key(facts: Iterable[Known]) -> dict[str, list[Known]]:
    found: dict[str, list[Known]] = defaultdict(list)
    for fact in facts:
        found[fact.key].append(fact)
    return found


def _compare_key(
    history: History,
    facts: list[Known],
    shown: Collection[bytes],
    fresh: list[Fresh],
    held: bool,
    version: int,
    changes: Changes,
) -> None:
    usable, clashes = _without_clashes(history, facts, shown, fresh)
    changes.clashes.extend(clashes)
    version = _send(facts, usable, version, changes)
    if held or clashes:
        return
    missing = (
        _missing_full(facts, shown, usable) if history == "full" else _missing_current(facts, shown, usable)
    )
    for fact in sorted(missing, key=lambda fact: fact.valid_from):
        version += 1
        changes.withdrawn.append(Withdrawn(fact.key, fact.valid_from, version))
    if history == "current":
        changes.hidden.extend(_overtaken(facts, usable))


def _without_clashes(
    history: History, facts: list[Known], shown: Collection[bytes], fresh: list[Fresh]
) -> tuple[list[Fresh], list[Fresh]]:
    """The records that stand alone for their fact, and those that contradict another row the source shows."""
    content: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
    still_shown = [fact for fact in facts if fact.live and fact.row is not None and fact.row in shown]
    said = [(one.valid_from, one.content) for one in still_shown] + [
        (one.valid_from, one.content) for one in fresh
    ]
    for valid_from, digest in said:
        # In history `current` a key has one row, whatever its valid_from.
        content[valid_from if history == "full" else ""].add((valid_from, digest))
    clashing = {place for place, found in content.items() if len(found) > 1}
    usable: dict[str, Fresh] = {}
    clashes = []
    for record in fresh:
        if (record.valid_from if history == "full" else "") in clashing:
            clashes.append(record)
        else:
            usable.setdefault(record.valid_from, record)
    known_rows = {fact.valid_from for fact in still_shown}
    return [record for place, record in sorted(usable.items()) if place not in known_rows], clashes


def _send(facts: list[Known], usable: list[Fresh], version: int, changes: Changes) -> int:
    by_start = {fact.valid_from: fact for fact in facts}
    for record in usable:
        old = by_start.get(record.valid_from)
        if old is not None and old.live and old.content == record.content:
            changes.reread.append(record)
            continue
        version += 1
        changes.sent.append(Sent(record, version, "corrected" if old is not None and old.live else "new"))
    return version


def _missing_full(facts: list[Known], shown: Collection[bytes], usable: list[Fresh]) -> list[Known]:
    present = {record.valid_from for record in usable}
    return [
        fact
        for fact in facts
        if fact.live and fact.row is not None and fact.row not in shown and fact.valid_from not in present
    ]


def _missing_current(facts: list[Known], shown: Collection[bytes], usable: list[Fresh]) -> list[Known]:
    """All live facts when the key vanished; those that start later when the present fact now starts earlier."""
    live = [fact for fact in facts if fact.live]
    if not usable:
        return [] if any(fact.row in shown for fact in live if fact.row is not None) else live
    return [fact for fact in live if fact.valid_from > usable[-1].valid_from]


def _overtaken(facts: list[Known], usable: list[Fresh]) -> list[Known]:
    if not usable:
        return []
    return [
        fact
        for fact in facts
        if fact.live and fact.row is not None and fact.valid_from < usable[-1].valid_from
    ]
