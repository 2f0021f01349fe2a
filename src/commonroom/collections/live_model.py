"""The shapes of live.yaml: how the modules of a collection are made from the record. Makes nothing: see `live`."""

from __future__ import annotations

from typing import Literal

import msgspec

Taken = Literal["on the reference date", "over the period"]


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of the records that belong to a row made from the record, such as its marks of the period."""

    over: str
    values: dict[str, str]
    # Items that these records share with the row.
    same: tuple[str, ...] = ()
    name: str | None = msgspec.field(default=None, name="as")
    taken: Taken = "on the reference date"
    where: str | None = None

    @property
    def alias(self) -> str:
        """The name its records have in `where` and `values`."""
        return self.name or self.over


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows of a module are made from the record: one for each record of an entity, or each group of them."""

    entity: str = msgspec.field(name="from")
    taken: Taken = "on the reference date"
    # Items: in place of records, the periods in which these items stayed the same.
    periods_of: tuple[str, ...] = ()
    # Further entity -> items by which its record is found; whose record it is goes without saying.
    reach: dict[str, tuple[str, ...]] = msgspec.field(default={}, name="with")
    figures: tuple[Figure, ...] = ()
    where: str | None = None
    # Items by which the row of the parent module is found.
    under: tuple[str, ...] = ()
    # One row for each value of these items; the others are aggregates then.
    group_by: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    set: dict[str, str] = {}
    # True: an item that is not written here is taken as its own `item: entity.item` says.
    mapped: bool = False
    items: dict[str, str] = {}


class LiveFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file live.yaml: how modules are made from the record."""

    modules: dict[str, Live | tuple[Live, ...]]

    @property
    def sources(self) -> dict[str, tuple[Live, ...]]:
        """The sources of each module, one or several."""
        return {name: (live,) if isinstance(live, Live) else live for name, live in self.modules.items()}
