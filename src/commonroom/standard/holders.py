"""Whose record a record is: the party that its key names, which alone may speak of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commonroom.ids import alias_urn
from commonroom.standard.model import Entity, Item

AUTHORITIES = "local_authority"  # the code set of their numbers
_SCHEMES = {"URN": "urn", "UKPRN": "ukprn"}


def is_holder(item: Item) -> bool:
    """True for an item that can say whose record it is."""
    if item.type == "code":
        return item.codeset == AUTHORITIES
    return item.identifier in (*_SCHEMES, "EMPLOYER")


def holder_alias(entity: Entity, record: Mapping[str, Any]) -> str | None:
    """The directory's alias of the party whose record it is.

    None where the entity has no holder, or the record does not say it. The value may be anything: whoever looks it up
    finds nobody then.
    """
    item = entity.item(entity.holder) if entity.holder else None
    value = record.get(entity.holder or "")
    if item is None or not isinstance(value, str) or not value:
        return None
    return alias_urn(_scheme(item, value), value)


def _scheme(item: Item, value: str) -> str:
    if item.type == "code":
        return "la"
    if item.identifier == "EMPLOYER":
        # Three digits are an authority, six a school.
        return "la" if len(value) == 3 else "urn"
    return _SCHEMES[item.identifier or ""]
