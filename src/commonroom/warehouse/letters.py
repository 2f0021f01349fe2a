"""From letters to changes: what a letter may say, which of its records can be used, and what is wrong with the rest.

A letter is refused whole when it cannot be read, when its sender may not speak for what it names, or when nothing in it
can be used. Otherwise its good records are loaded and each bad one leaves a finding. No reason for a refusal and no
message of a finding holds a personal value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from commonroom import exchange, standard
from commonroom.exchange import Letter, RecordSet
from commonroom.problems import Problem
from commonroom.warehouse import tables
from commonroom.warehouse.facts import Change, Fact
from commonroom.warehouse.rekeying import Rekeyed
from commonroom.warehouse.tables import FactTable

SCHOOL = "school"
ORGANISATION = "organisation"
REFERENCE = "reference"  # the area of the entities that the Department speaks of
LEARNER_NUMBER = "learner_number"  # has no holder whose records the warehouse could tell apart
_LOOKED_UP = re.compile(r"[!-~]{1,60}")  # anything else is no alias of anybody
_NUMBER = re.compile(r"[0-9]{3,8}")
_HOLDERS = {"urn": ("school", "URN"), "la": ("authority", "number"), "ukprn": ("provider", "UKPRN")}
REGISTERS = "urn:commonroom:alias:platform:registers"
DEPARTMENT = "urn:commonroom:alias:platform:department"
_MAX_KEY = 200  # of each value of a key
_MAX_FINDINGS = 1000  # of one letter; the rest repeat what these say


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a letter or with one record in it. `key` and `value` may be personal."""

    severity: str
    rule: str
    entity: str
    record: int | None  # its place in the letter, from 0
    key: dict[str, Any]
    item: str | None
    value: str | None
    message: str
    remedy: str


class Opened(msgspec.Struct, frozen=True):
    """A letter's record set, and what an older version said that the present one cannot hold."""

    content: RecordSet
    notes: list[standard.Note]


class Reading(msgspec.Struct, frozen=True):
    """What a letter comes to. `refusal` is the reason when the whole of it is refused."""

    letter: Letter
    changes: dict[str, list[Change]]  # by entity
    findings: list[Finding]
    refusal: str | None
    rekeyed: tuple[Rekeyed, ...] = ()


def opened(letter: Letter) -> Opened | Problem:
    """The record set in a letter, in the present version of the standard; or what is wrong with it."""
    try:
        content = exchange.record_set_of(letter)
        standard.check_dataschema(letter.envelope.dataschema, content.standard)
        present = standard.upgrade_records(
            content.standard, content.records, content.withdrawn, content.rekeyed
        )
    except Problem as problem:
        return problem
    content = RecordSet(
        standard=standard.load().version,
        records=present.records,
        withdrawn=present.withdrawn,
        rekeyed=present.rekeyed,
    )
    return Opened(content, present.notes)


def holders_named(content: RecordSet) -> set[str]:
    """The alias of every party whose record is told or taken back, also of those whose records are otherwise bad."""
    entities = standard.load().entities
    named = {
        standard.holder_alias(entities[name], entry)
        for part in (content.records, content.withdrawn, _both_ends(content))
        for name, entries in part.items()
        if name in entities
        for entry in entries
    }
    return {alias for alias in named if alias is not None}


def _both_ends(content: RecordSet) -> dict[str, list[Mapping[str, Any]]]:
    """The keys of changes of keys, old and new, as records."""
    return {
        name: [
            end for pair in pairs for end in (pair.get("from"), pair.get("to")) if isinstance(end, Mapping)
        ]
        for name, pairs in content.rekeyed.items()
    }


def read(letter: Letter, found: Opened | Problem, parties: Mapping[str, str]) -> Reading:
    """Judge one letter. `parties` are the directory's parties by alias, of all names that the letter uses."""
    if isinstance(found, Problem):
        return _refused(letter, f"{found.detail} {found.remedy}".strip())
    content = found.content
    reason = _wrong_type(letter, content) or _wrong_sender(letter, content, parties)
    if reason:
        return _refused(letter, reason)
    changes: dict[str, list[Change]] = {}
    findings: list[Finding] = list(map(_upgraded, found.notes))
    rekeyed, wrong_keys = _rekeyed(letter, content)
    findings.extend(wrong_keys)
    for entity in sorted({*content.records, *content.withdrawn}):
        good, bad = _changes(letter, entity, content)
        findings.extend(bad)
        if good:
            changes[entity] = good
    if (
        not changes
        and not rekeyed
        and (first := next((one for one in findings if one.severity == "error"), None))
    ):
        return Reading(
            letter, {}, findings[:_MAX_FINDINGS], f"Nothing in it can be used. {first.message} {first.remedy}"
        )
    return Reading(letter, changes, findings[:_MAX_FINDINGS], None, tuple(rekeyed))


def _wrong_type(letter: Letter, content: RecordSet) -> str | None:
    event = standard.load().events.get(letter.envelope.type)
    if event is None:
        return f"The standard has no message type {letter.envelope.type}."
    others = {*content.records, *content.withdrawn, *content.rekeyed} - set(event.entities)
    if others:
        return f"A message of this type carries {', '.join(event.entities)} and nothing else."
    return None


def _wrong_sender(letter: Letter, content: RecordSet, parties: Mapping[str, str]) -> str | None:
    """Who holds a record speaks for it and nobody else. Organisations are the register's, reference the Department's."""
    sender = letter.envelope.source
    for alias in sorted(holders_named(content)):
        party = parties.get(alias)
        if party is None:
            return f"The {_shown(alias)} is not in the register of providers."
        if party != sender:
            return f"The sender does not speak for the {_shown(alias)}."
    told = {*content.records, *content.withdrawn, *content.rekeyed}
    if ORGANISATION in told and parties.get(REGISTERS) != sender:
        return "Only the register of providers speaks for organisations."
    spoken = _of_the_department(told)
    if spoken and parties.get(DEPARTMENT) != sender:
        return f"Only the Department speaks of {spoken}."
    if LEARNER_NUMBER in told:
        return "The warehouse takes numbers of learners from the learners' own records only."
    return None


def _of_the_department(told: Iterable[str]) -> str:
    """What of it is the Department's to say, in words."""
    entities = standard.load().entities
    found = [
        entities[name].title for name in sorted(told) if name in entities and entities[name].area == REFERENCE
    ]
    return ", ".join(title.lower() for title in found)


def _shown(alias: str) -> str:
    """A number of a body may be told; what stands there by mistake could be anybody's name or telephone."""
    scheme, _, value = alias.removeprefix("urn:commonroom:alias:").partition(":")
    what, number = _HOLDERS[scheme]
    if _NUMBER.fullmatch(value):
        return f"{what} with {number} {value}"
    return f"{what} with a {number} that is none"


def _changes(letter: Letter, entity: str, content: RecordSet) -> tuple[list[Change], list[Finding]]:
    table = tables.of(entity)
    records = standard.check_records(entity, content.records.get(entity, []))
    withdrawn = standard.check_withdrawn(entity, content.withdrawn.get(entity, []))
    findings = [_finding(found) for found in (*records.findings, *withdrawn.findings)]
    changes: list[Change] = []
    for checked, is_withdrawal in ((records, False), (withdrawn, True)):
        for record in checked.good:
            if record.get("version") is None:
                findings.append(_no_version(table, record))
            else:
                changes.append(Change(_fact(letter, table, record), is_withdrawal))
    return changes, findings


def _fact(letter: Letter, table: FactTable, record: Mapping[str, Any]) -> Fact:
    items = table.values(record)
    by_name = dict(zip(table.items, items, strict=True))
    return Fact(
        key=tuple(by_name[name] for name in table.key),
        valid_from=date.fromisoformat(
            record.get("valid_from") or record[table.valid_from_item or "valid_from"]
        ),
        valid_to=tables.as_date(record.get("valid_to")),
        items=items,
        weight=1,
        version=record["version"],
        known_position=letter.position,
        known_from=_known_from(letter),
        message=letter.envelope.id,
        sender=letter.envelope.source,
        learner_id=None,
    )


def _finding(found: standard.Finding) -> Finding:
    return Finding(
        severity=str(found.severity),
        rule=found.rule,
        entity=found.entity,
        record=found.index,
        key=_clean_key(found.key),
        item=found.item,
        value=_clean(found.value),
        message=found.message,
        remedy=found.remedy,
    )


def _no_version(table: FactTable, record: Mapping[str, Any]) -> Finding:
    return Finding(
        severity="error",
        rule="fact.version",
        entity=table.entity,
        record=None,
        key=_clean_key({name: record.get(name) for name in table.key}),
        item="version",
        value=None,
        message="`version` is missing: without it a later message cannot correct this record.",
        remedy="Number the versions of a record 1, 2, 3.",
    )


def _upgraded(note: standard.Note) -> Finding:
    return Finding(
        severity="query", rule="standard-upgraded", entity=note.entity, record=None, key={}, item=note.item,
        value=None, message=note.message, remedy=note.remedy,
    )  # fmt: skip


def _rekeyed(letter: Letter, content: RecordSet) -> tuple[list[Rekeyed], list[Finding]]:
    """The changes of keys that say what they must, and a finding for each other one."""
    good, bad = [], []
    for entity, pairs in sorted(content.rekeyed.items()):
        names = tuple(sorted(tables.of(entity).key))
        declared = standard.load().entities[entity]
        # A day in a key makes it one record's. Without one it is a person's or a group's, and others name it too.
        alone = any(declared.by_name[name].type == "date" for name in names)
        for pair in pairs:
            ends = [_values(declared, names, pair.get(end)) for end in ("from", "to")]
            if None in ends or ends[0] == ends[1]:
                bad.append(_wrong_key(entity))
                continue
            old, new = (end for end in ends if end is not None)
            good.append(
                Rekeyed(
                    names,
                    old,
                    new,
                    letter.position,
                    _known_from(letter),
                    letter.envelope.id,
                    letter.envelope.source,
                    entity if alone else "",
                )
            )
    return good, bad


def noting(reading: Reading, superseded: Sequence[Rekeyed]) -> Reading:
    """The same with a finding for each of its changes of keys that a newer one has overtaken."""
    findings = [
        Finding(
            severity="query", rule="fact.rekeyed", entity=one.entity, record=None, key={}, item=None, value=None,
            message="A changed key was not followed: a newer message says that the new key became the old one again.",
            remedy="If this change holds after all, send it again as a new message.",
        )
        for one in reading.rekeyed
        if one in superseded
    ]  # fmt: skip
    return msgspec.structs.replace(reading, findings=[*reading.findings, *findings][:_MAX_FINDINGS])


def _values(entity: standard.Entity, names: Sequence[str], end: Any) -> tuple[str, ...] | None:
    """The values of a whole key as text, None when it is not one or no record could have it."""
    if not isinstance(end, Mapping) or set(end) != set(names):
        return None
    values = tuple(end[name] for name in names)
    if not all(isinstance(value, str) and 0 < len(value) <= _MAX_KEY for value in values):
        return None
    return values if _may_be(entity, end) else None


def _may_be(entity: standard.Entity, key: Mapping[str, str]) -> bool:
    """Whether the standard takes the values of a key; numbers are written as text in changed keys."""
    record: dict[str, Any] = {"valid_from": "2000-01-01", "version": 1, **key}
    for name, text in key.items():
        if entity.by_name[name].type == "integer":
            if not text.isascii() or not text.isdigit():
                return False
            record[name] = int(text)
    found = standard.check_withdrawn(entity.name, [record]).findings
    return not any(one.severity == "error" and one.item in key for one in found)


def _wrong_key(entity: str) -> Finding:
    return Finding(
        severity="error", rule="fact.rekeyed", entity=entity, record=None, key={}, item=None, value=None,
        message=f"A changed key of {entity} does not name two whole keys that differ and that records can have.",
        remedy=f"Give `from` and `to`, each with {', '.join(tables.of(entity).key)} as text and nothing else.",
    )  # fmt: skip


def _known_from(letter: Letter) -> datetime:
    return letter.accepted_at.astimezone(UTC).replace(tzinfo=None)


def _refused(letter: Letter, reason: str) -> Reading:
    finding = Finding(
        severity="error", rule="letter", entity="", record=None, key={}, item=None, value=None,
        message=reason, remedy="Correct it and send it as a new message.",
    )  # fmt: skip
    return Reading(letter, {}, [finding], reason)


def _clean_key(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _clean(value) for name, value in key.items()}


def _clean(value: Any) -> str | None:
    """A value as PostgreSQL can hold it, cut to a length a person reads."""
    if value is None:
        return None
    return str(value)[:200].replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


def parties_to_resolve(found: Iterable[Opened | Problem]) -> Sequence[str]:
    """The aliases that `read` asks for, of several letters."""
    named = {alias for one in found if isinstance(one, Opened) for alias in holders_named(one.content)}
    return [REGISTERS, DEPARTMENT, *(alias for alias in sorted(named) if _LOOKED_UP.fullmatch(alias))]
