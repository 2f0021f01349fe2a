"""JSON Schema (2020-12) of each entity, and of a record set.

A schema takes every record that the check takes. It also refuses what the check refuses, but for what a schema cannot
say, which `$comment` names: check characters, the order of two dates, and that `valid_from` repeats an item.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from commonroom.standard import identifiers
from commonroom.standard.agreement import RECORD_FIELDS
from commonroom.standard.judges import LARGEST, OPEN_CODE_LENGTH, decimal_pattern, period
from commonroom.standard.model import Code, Codeset, Entity, Item, Standard

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_LONG, _SHORT, _FEBRUARY = "(?:0[13578]|1[02])", "(?:0[469]|11)", "02"
_DAY_OF_MONTH = f"{_LONG}-(?:0[1-9]|[12][0-9]|3[01])|{_SHORT}-(?:0[1-9]|[12][0-9]|30)|{_FEBRUARY}-(?:0[1-9]|1[0-9]|2[0-8])"
_DATE = f"(?!0000)(?:[0-9]{{4}}-(?:{_DAY_OF_MONTH})|{_LEAP})"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_CONTROL = "[\\u0000-\\u001f\\u007f]"
_LAST_DAY = "9999-12-31"


def files(standard: Standard) -> dict[str, str]:
    """Every schema by file name."""
    found = {
        f"{name}.schema.json": entity_schema(entity, standard) for name, entity in standard.entities.items()
    }
    found["record-set.schema.json"] = record_set_schema(standard)
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in found.items()}


def entity_schema(entity: Entity, standard: Standard) -> Schema:
    """The schema of one record."""
    required = [item.name for item in entity.items if item.required]
    if entity.valid_from_item is None:
        required.append("valid_from")
    codesets = dict.fromkeys(item.codeset for item in entity.items if item.codeset)
    schema = {
        "$schema": DIALECT,
        "$id": f"{standard.dataschema}:{entity.name}",
        "title": entity.title,
        "description": entity.description,
        "$comment": _comment(entity),
        "type": "object",
        "properties": {
            **{item.name: _item(item) for item in entity.items},
            "version": {"title": "Version of the record", **_optional(_whole_number(1))},
            "valid_from": {"title": "Valid from", **_day("valid_from" in required)},
            "valid_to": {"title": "Valid to", **_day(False)},
        },
        "required": required,
        "additionalProperties": False,
        "$defs": {
            "date": {"type": "string", "format": "date", "pattern": _whole(_DATE)},
            **{f"codeset_{name}": _codeset(standard.codesets[name]) for name in codesets},
        },
    }
    conditions = list(_conditions(entity, standard))
    return {**schema, "allOf": conditions} if conditions else schema


def record_set_schema(standard: Standard) -> Schema:
    """The schema of a record set of this version: records by entity, and entries that withdraw or rekey.

    It names the entities' schemas by their `$id`: a validator is given all of them.
    """
    key = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
    pair = {"type": "object", "properties": {"from": key, "to": key}, "required": ["from", "to"]}
    base = standard.dataschema
    by_entity = {name: {"type": "array", "items": {"$ref": f"{base}:{name}"}} for name in standard.entities}
    return {
        "$schema": DIALECT,
        "$id": f"{standard.dataschema}:record-set",
        "title": "Record set",
        "description": "What a message of the standard holds.",
        "type": "object",
        "properties": {
            "standard": {"const": standard.version},
            "records": {"type": "object", "properties": by_entity, "additionalProperties": False},
            "withdrawn": {
                "type": "object",
                "properties": {
                    name: {"type": "array", "items": _withdrawal(entity, base)}
                    for name, entity in standard.entities.items()
                },
                "additionalProperties": False,
            },
            "rekeyed": {"type": "object", "additionalProperties": {"type": "array", "items": pair}},
        },
        "required": ["standard"],
        "additionalProperties": False,
    }


def _withdrawal(entity: Entity, base: str) -> Schema:
    """The key, the day and the version: no more, so that nothing is told again by being taken back."""
    names = [*entity.key, *([] if entity.valid_from_item else ["valid_from"])]
    allowed = dict.fromkeys([*entity.key, "valid_from", "version"])
    return {
        "type": "object",
        "properties": {name: {"$ref": f"{base}:{entity.name}#/properties/{name}"} for name in allowed},
        "required": names,
        "additionalProperties": False,
    }


def _item(item: Item) -> Schema:
    shape = _shape(item)
    marks = {
        "x-personal": item.personal,
        "x-cbds": item.cbds,
        "x-cbds-now": item.cbds_now,
        "x-codeset": item.codeset,
    }
    return {
        "title": item.title,
        "description": item.description,
        **(shape if item.required else _optional(shape)),
        **{name: value for name, value in marks.items() if value},
    }


def _shape(item: Item) -> Schema:
    """What a value looks like, null apart."""
    match item.type:
        case "code":
            return {"$ref": f"#/$defs/codeset_{item.codeset}"}
        case "identifier":
            kind = item.identifier or ""
            return {"type": "string", "pattern": _whole(identifiers.form(kind)), "x-identifier": kind}
        case "string":
            return {
                "type": "string",
                "maxLength": item.max_length,
                "pattern": "\\S",
                "not": {"pattern": _CONTROL},
            }
        case "integer":
            return _whole_number(-LARGEST)
        case "decimal":
            return {"type": "string", "pattern": _whole(decimal_pattern(item))}
        case "boolean":
            return {"type": "boolean"}
        case "date":
            return {"$ref": "#/$defs/date"}
        case "time":
            return {"type": "string", "pattern": _whole(_TIME)}


def _codeset(codeset: Codeset) -> Schema:
    described = {"title": codeset.title, "description": codeset.description}
    if codeset.open:
        # Others may add codes before this list does: any short text is no error.
        examples = [code.code for code in codeset.codes]
        shape = {"type": "string", "maxLength": OPEN_CODE_LENGTH, "not": {"pattern": _CONTROL}}
        return {**described, **shape, "examples": examples}
    return {**described, "enum": [code.code for code in codeset.codes]}


def _conditions(entity: Entity, standard: Standard) -> Iterator[Schema]:
    """What holds on some days only: codes and items by the day that the record is valid from."""
    day = entity.valid_from_item or "valid_from"
    for item in entity.items:
        if item.since or item.until:
            there = {"properties": {item.name: {"not": {"type": "null"}}}, "required": [item.name]}
            yield {"if": there, "then": _on_days(day, [item])}
        codeset = standard.codesets[item.codeset] if item.codeset else None
        if codeset is None or codeset.open:
            continue
        periods: dict[tuple[str, str], list[Code]] = {}
        for code in codeset.codes:
            if code.since or code.until:
                periods.setdefault(period(code), []).append(code)
        for codes in periods.values():
            one_of = {"enum": [code.code for code in codes]}
            yield {
                "if": {"properties": {item.name: one_of}, "required": [item.name]},
                "then": _on_days(day, codes),
            }


def _on_days(day: str, dated: Iterable[Code | Item]) -> Schema:
    """The record's day lies within the first and last day that all of these share."""
    since, until = period(next(iter(dated)))
    bounds = [_bound(since, "above")] if since else []
    bounds += [_bound(until, "below")] if until != _LAST_DAY else []
    return {"properties": {day: {"allOf": [{"pattern": bound} for bound in bounds]}}}


def _bound(limit: str, side: str) -> str:
    """A pattern of the dates from a day on, or up to it: dates as text sort as dates do."""
    alternatives = [f"{limit}$"]
    for place, digit in enumerate(limit):
        if digit != "-":
            low, high = (int(digit) + 1, 9) if side == "above" else (0, int(digit) - 1)
            alternatives += [f"{limit[:place]}[{low}-{high}]"] if low <= high else []
    return f"^(?:{'|'.join(alternatives)})"


def _optional(shape: Schema) -> Schema:
    return {"anyOf": [shape, {"type": "null"}]}


def _day(required: bool) -> Schema:
    shape = {"$ref": "#/$defs/date"}
    return shape if required else _optional(shape)


def _whole_number(least: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": LARGEST}


def _whole(pattern: str) -> str:
    """The pattern of a whole text. In some engines `$` also stands before a last line end, hence the second condition."""
    return f"^(?:{pattern})$(?!\\n)"


def _comment(entity: Entity) -> str:
    kinds = sorted({item.identifier for item in entity.items if item.identifier} & set(identifiers.CHECKED))
    said = [f"Key: {', '.join(entity.key)}."]
    if kinds:
        said.append(f"Not said here: the check characters of {', '.join(kinds)}.")
    said.append(f"Not said here: `{RECORD_FIELDS[2]}` is not before the first day.")
    if entity.valid_from_item:
        said.append(f"Not said here: `valid_from`, where it is given, is `{entity.valid_from_item}`.")
    return " ".join(said)
