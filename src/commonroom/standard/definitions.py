"""The Common Data Definitions: which entities are published under that name, and where a ULN is mandatory."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom.standard.agreement import disagree
from commonroom.standard.loader import FOLDER, load, read_declaration
from commonroom.standard.model import Entity, Item

AREA = "post14"
Uln = Literal["mandatory", "mandatory from 14", "through the learner"]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entity, and whether a ULN must be there."""

    entity: str
    uln: Uln
    when: str
    source: str


class CommonDataDefinitions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The publication."""

    title: str
    description: str
    entities: tuple[Published, ...]

    def items(self) -> list[tuple[Entity, Item]]:
        """Every item with its entity, by title: what means the same stands together."""
        found = [
            (entity, item)
            for entity in (load().entities[one.entity] for one in self.entities)
            for item in entity.items
        ]
        return sorted(found, key=lambda pair: (pair[1].title.lower(), pair[0].name))


@cache
def common_data_definitions(folder: Path = FOLDER) -> CommonDataDefinitions:
    """The declared publication, which holds every entity of learning after 14. Raises Problem CR-001 or CR-090."""
    path = folder / "common_data_definitions.yaml"
    found = read_declaration(path, CommonDataDefinitions)
    entities = load(folder).entities
    for place, one in enumerate(found.entities):
        entity = entities.get(one.entity)
        if entity is None:
            disagree(path, ("entities", place), f"there is no entity `{one.entity}`", "Name an entity.")
        uln = entity.item("uln")
        if (uln is not None) != one.uln.startswith("mandatory"):
            remedy = "Say `through the learner` of entities without the item `uln`, and of no others."
            disagree(path, ("entities", place, "uln"), "this does not go with its items", remedy)
        if uln is not None and uln.required != (one.uln == "mandatory"):
            remedy = "Say `mandatory` of entities that require the item `uln`, and of no others."
            disagree(path, ("entities", place, "uln"), "this does not go with its items", remedy)
    named = {one.entity for one in found.entities}
    if missing := [name for name, entity in entities.items() if entity.area == AREA and name not in named]:
        remedy = "Say of each whether a ULN is mandatory."
        disagree(path, ("entities",), f"these are not published: {', '.join(missing)}", remedy)
    return found
