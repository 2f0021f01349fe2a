"""Characteristics of pupils, and of facts, by which measures can be divided: characteristics/*.yaml.

What a pupil is, is taken from the state of the pupil's record at the school: of a measure that is a state, on its day; of
others, on the last school day of the term that has come. Of several records the one that began last speaks. Whoever has
none by then, or one without the item, is in the group UNKNOWN. A characteristic of the facts themselves, the session of a
mark, divides measures that are sums of such facts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import ibis
import msgspec

from commonroom import declarations, standard
from commonroom.problems import Problem, add_codes
from commonroom.warehouse import tables

add_codes({"CR-285": "The characteristic cannot be used"})

FOLDER = Path(__file__).parent / "characteristics"
UNKNOWN = "unknown"
# What the compiled measure reads besides: the facts of the characteristic, and the day on which each period asks for it.
PUPILS, MOMENTS = "pupils", "moments"
UNIT = ("school", "upn")


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One group: those with one of these codes, or (`rest`) all with another code than those of any group."""

    name: str
    title: str
    codes: tuple[str, ...] = ()
    rest: bool = False


class Characteristic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One characteristic, as declared."""

    name: str
    title: str
    meaning: str
    entity: str
    item: str
    groups: tuple[Group, ...]
    unknown: str = "Not known"  # title of the group of those of whom nothing is known
    # Entities whose facts are each of one group themselves, with the item that says of which: admission numbers, say.
    facts: dict[str, str] = {}
    # The measures that count a group of their base themselves, by the group: the same figure, hidden in both or in none.
    same_as: dict[str, str] = {}

    def titles(self) -> dict[str, str]:
        """The titles of its groups by name, in their order."""
        return {**{group.name: group.title for group in self.groups}, UNKNOWN: self.unknown}


@cache
def load(folder: Path = FOLDER) -> dict[str, Characteristic]:
    """Every characteristic by name. Raises Problem CR-001 or CR-285."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        one = declarations.load(path, Characteristic)
        _check(one, path)
        found[one.name] = one
    return found


def named(name: str) -> Characteristic:
    """The characteristic of that name, or Problem CR-063 (404)."""
    found = load().get(name)
    if found is None:
        known = ", ".join(load())
        raise Problem("CR-063", "there is no such characteristic", status=404, remedy=f"Use one of: {known}.")
    return found


def is_of_facts(one: Characteristic, entity: str) -> bool:
    """Whether it tells the facts of that entity apart, as the session does marks, and not their pupils."""
    if entity in one.facts:
        return True
    key = standard.load().entities[entity].key
    return one.entity == entity and one.item in key and one.item not in UNIT


def item_of(one: Characteristic, entity: str) -> str:
    """The item of the facts of an entity that says of which group they are."""
    return one.facts.get(entity, one.item)


def columns_of(one: Characteristic) -> list[str]:
    """The columns that it reads of its entity's fact table."""
    table = tables.of(one.entity)
    items = [name for name in table.items if name in {one.item, *table.key}]
    return [*items, "valid_from", "weight"]


def of_pupils(one: Characteristic) -> Any:
    """The group of each pupil at each school on each moment, in Ibis over PUPILS and MOMENTS: on, school, upn, category."""
    table = tables.of(one.entity)
    kinds = {column.name: column.sql for column in table.columns}
    types = {"DATE": "date", "BOOLEAN": "boolean", "BIGINT": "int64", "TINYINT": "int8"}
    facts = ibis.table({name: types.get(kinds[name], "string") for name in columns_of(one)}, name=PUPILS)
    days = ibis.table({"on": "date", "period": "string"}, name=MOMENTS).select("on").distinct()
    same = [name for name in facts.columns if name != "weight"]
    live = facts.group_by(same).aggregate(weight=facts.weight.cast("int64").sum())
    live = live.filter(live.weight > 0)
    begun = live.join(days, live.valid_from <= days.on)
    latest = [ibis.desc(begun[name]) for name in ("valid_from", *table.key) if name not in UNIT]
    order = ibis.window(group_by=["on", *UNIT], order_by=latest)
    ranked = begun.mutate(rank=ibis.row_number().over(order))
    chosen = ranked.filter(ranked.rank == 0)
    return chosen.select("on", *UNIT, category=group_of(one, chosen[one.item]))


def group_of(one: Characteristic, value: Any) -> Any:
    """The name of the group of a value of its item, in Ibis."""
    if value.type().is_boolean():
        texts = {"true": value, "false": ~value}
        branches = [(texts[code], group.name) for group in one.groups for code in group.codes]
    else:
        branches = [(value.isin(group.codes), group.name) for group in one.groups if not group.rest]
        branches += [(value.notnull(), group.name) for group in one.groups if group.rest]
    return ibis.cases(*branches, else_=UNKNOWN)


def _check(one: Characteristic, path: Path) -> None:
    entity = standard.load().entities.get(one.entity)
    item = entity.item(one.item) if entity is not None else None
    codes = [code for group in one.groups for code in group.codes]
    fault = ""
    if one.name != path.stem or not {"school", "upn"} <= set(entity.key if entity else ()) or item is None:
        fault = "it is called as its file, of an item of an entity whose key has the school and the pupil"
    elif len(set(codes)) != len(codes) or len({group.name for group in one.groups}) != len(one.groups):
        fault = "a code or a group stands twice"
    elif any(not _has(entity, item) for entity, item in one.facts.items()):
        fault = "`facts` has entities, each with an item of its key"
    elif not set(one.same_as) <= {group.name for group in one.groups}:
        fault = "`same_as` is of groups that it has not"
    elif sum(group.rest for group in one.groups) > 1 or any(
        group.rest == bool(group.codes) for group in one.groups
    ):
        fault = "a group has codes, or is the one that has the rest"
    elif item.codeset is not None:
        known = standard.load().codesets[item.codeset]
        missing = [code for code in codes if known.code(code) is None]
        fault = f"{known.name} has no code {', '.join(missing)}" if missing else ""
    if fault:
        raise Problem(
            "CR-285", fault, where=str(path), remedy="docs/warehouse.md says what a characteristic is."
        )


def _has(entity: str, item: str) -> bool:
    known = standard.load().entities.get(entity)
    return known is not None and item in known.key
