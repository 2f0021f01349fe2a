"""A finding: one thing the agent could not use, told so that the clerk can mend it at the source."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "query"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`key` and `value` may be personal: they are shown to the agent's own operator and never leave the agent."""

    mapping: str  # the mapping file, or the message, that it was found through
    entity: str  # empty for the transfers query
    key: dict[
        str, str
    ] = {}  # key items of the record as far as they are known; empty: all records of the query
    item: str = ""
    rule: str  # stable short name
    severity: Severity = "error"  # error: the record was not sent
    message: str
    remedy: str
    value: str = ""

    def line(self) -> str:
        """One line for people: mapping file, entity, record, item, what is wrong, what to do."""
        record = ", ".join(f"{item} {value}" for item, value in self.key.items())
        places = [
            self.mapping,
            self.entity,
            f"record {record}" if record else "",
            self.item and f"item {self.item}",
        ]
        shown = f" (value {self.value!r})" if self.value else ""
        return (
            f"{', '.join(place for place in places if place)}: {self.message}{shown} {self.remedy}".rstrip()
        )
