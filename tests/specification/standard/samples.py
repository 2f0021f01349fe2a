"""One right record of every entity, made from what the standard says of its items."""

from __future__ import annotations

from datetime import date
from typing import Any

from commonroom import standard
from commonroom.standard import Entity, Item, identifiers

STANDARD = standard.load()
DAY = "2026-01-15"
IDENTIFIERS = {
    "UPN": identifiers.make_upn(997, 4000, 2020, 17),
    "ULN": "1026893096",
    "UKPRN": "10099001",
    "URN": "990001",
    "LAESTAB": "9972001",
    "NINO": "AB123456C",
    "TRN": "1234567",
    "UCI": "681230091234K",
    "EMPLOYER": "990001",
    "PARTY": "urn:commonroom:org:0190a3c4-8a00-7000-8000-000000000001",
}
_PLAIN: dict[str, Any] = {"integer": 1, "boolean": True, "date": DAY, "time": "08:30", "decimal": "1.5"}


def record(entity: Entity, **changes: Any) -> dict[str, Any]:
    """A right record with every item, changed as asked."""
    items = {item.name: value(item) for item in entity.items}
    return {**items, "valid_from": DAY, "version": 1, **changes}


def value(item: Item) -> Any:
    """A right value of an item, on DAY."""
    if item.type == "code":
        codeset = STANDARD.codesets[item.codeset or ""]
        return next(code.code for code in codeset.codes if code.is_in_use(date.fromisoformat(DAY)))
    if item.type == "identifier":
        return IDENTIFIERS[item.identifier or ""]
    if item.type == "string":
        return "Text"[: item.max_length]
    return _PLAIN[item.type]
