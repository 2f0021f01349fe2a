"""The changes that one version of the standard declares over the one before it.

Each change knows how to be taken back, so that the older version follows from the newer one and nothing stands twice;
what it breaks, in words; and, where it touches them, what becomes of older records.
"""

from __future__ import annotations

from typing import Any

import msgspec

from commonroom.standard.model import Code, Codeset, Entity, Item


class Draft(msgspec.Struct):
    """A standard while changes are taken back: entities and code sets by name."""

    entities: dict[str, Entity]
    codesets: dict[str, Codeset]


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="change", kw_only=True):
    """What all changes have: the reason, for people."""

    why: str


class EntityAdded(_Change, frozen=True, tag="entity_added"):
    """An entity that the older version lacks."""

    entity: str

    @property
    def place(self) -> str:
        """What it is about, such as `learner.sex`."""
        return self.entity

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return "Nothing. A receiver of the older version refuses messages that carry it."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        del draft.entities[self.entity]


class ItemAdded(_Change, frozen=True, tag="item_added"):
    """An item that the older version lacks. Older records get `value`, which a required item must have."""

    entity: str
    item: str
    value: str | None = None

    @property
    def place(self) -> str:
        """The entity and its item."""
        return f"{self.entity}.{self.item}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        if self.value is None:
            return "Nothing. Older records go without it; a receiver of the older version refuses records with it."
        return f"Senders must give it. Older records get `{self.value}`."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        entity = draft.entities[self.entity]
        if entity.by_name[self.item].required and self.value is None:
            raise LookupError("a required item needs the `value` that older records get")
        items = tuple(item for item in entity.items if item.name != self.item)
        draft.entities[self.entity] = msgspec.structs.replace(entity, items=items)


class ItemRemoved(_Change, frozen=True, tag="item_removed"):
    """An item that the newer version lacks, with all the older one says of it."""

    entity: str
    item: Item

    @property
    def place(self) -> str:
        """The entity and its item."""
        return f"{self.entity}.{self.item.name}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return "Senders must leave it out. Older records load without its value."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        entity = draft.entities[self.entity]
        if self.item.name in entity.by_name:
            raise LookupError(f"`{self.item.name}` is still an item")
        draft.entities[self.entity] = msgspec.structs.replace(entity, items=(*entity.items, self.item))


class ItemRenamed(_Change, frozen=True, tag="item_renamed"):
    """An item that had another name."""

    entity: str
    was: str
    item: str

    @property
    def place(self) -> str:
        """The entity and its item."""
        return f"{self.entity}.{self.item}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return f"Senders must write `{self.item}` for `{self.was}`. Older records load under the new name."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        entity = draft.entities[self.entity]
        if self.was in entity.by_name:
            raise LookupError(f"`{self.was}` is an item of its own")
        older = msgspec.structs.replace(entity.by_name[self.item], name=self.was)
        draft.entities[self.entity] = msgspec.structs.replace(
            entity,
            items=tuple(older if item.name == self.item else item for item in entity.items),
            key=tuple(self._older(name) for name in entity.key),
            holder=entity.holder and self._older(entity.holder),
            valid_from_item=entity.valid_from_item and self._older(entity.valid_from_item),
        )

    def _older(self, name: str) -> str:
        return self.was if name == self.item else name


class ItemChanged(_Change, frozen=True, tag="item_changed"):
    """An item of which the older version said something else; `was` is the older item as a whole."""

    entity: str
    was: Item

    @property
    def place(self) -> str:
        """The entity and its item."""
        return f"{self.entity}.{self.was.name}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return "Senders must keep to the new description. An older record is judged by it too."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        entity = draft.entities[self.entity]
        if self.was == entity.by_name[self.was.name]:
            raise LookupError("nothing has changed")
        items = tuple(self.was if item.name == self.was.name else item for item in entity.items)
        draft.entities[self.entity] = msgspec.structs.replace(entity, items=items)


class CodesetAdded(_Change, frozen=True, tag="codeset_added"):
    """A code set that the older version lacks."""

    codeset: str

    @property
    def place(self) -> str:
        """The code set."""
        return self.codeset

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return "Nothing by itself: see the items that use it."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        del draft.codesets[self.codeset]


class CodeAdded(_Change, frozen=True, tag="code_added"):
    """Codes that the older version lacks."""

    codeset: str
    codes: tuple[str, ...]

    @property
    def place(self) -> str:
        """The code set and its codes."""
        return f"{self.codeset}: {' '.join(self.codes)}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return "Receivers may meet codes that they do not know yet. A receiver of the older version refuses them."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        codeset = draft.codesets[self.codeset]
        if missing := [code for code in self.codes if code not in codeset.by_code]:
            raise LookupError(f"there is no code {' '.join(missing)}")
        codes = tuple(code for code in codeset.codes if code.code not in self.codes)
        draft.codesets[self.codeset] = msgspec.structs.replace(codeset, codes=codes)


class CodeRetitled(_Change, frozen=True, tag="code_retitled"):
    """A code that meant something a little different, in words."""

    codeset: str
    code: str
    was: str

    @property
    def place(self) -> str:
        """The code set and its code."""
        return f"{self.codeset}: {self.code}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return f"Nothing in records. It was called: {self.was}."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        codeset = draft.codesets[self.codeset]
        older = msgspec.structs.replace(codeset.by_code[self.code], title=self.was)
        codes = tuple(older if code.code == self.code else code for code in codeset.codes)
        draft.codesets[self.codeset] = msgspec.structs.replace(codeset, codes=codes)


class OlderCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the older version, and the one it becomes."""

    code: str
    title: str
    becomes: str


class CodeRecoded(_Change, frozen=True, tag="code_recoded"):
    """Codes that were written otherwise. Several may have become one."""

    codeset: str
    was: tuple[OlderCode, ...]

    @property
    def place(self) -> str:
        """The code set and what became of its codes."""
        return f"{self.codeset}: {', '.join(f'{one.code} -> {one.becomes}' for one in self.was)}"

    @property
    def breaks(self) -> str:
        """What a party must do because of it."""
        return "Senders must write the new codes. Older records load with the new ones."

    def undo(self, draft: Draft) -> None:
        """Take it back. Raises LookupError where the newer version does not fit."""
        codeset = draft.codesets[self.codeset]
        became = {one.becomes for one in self.was}
        if missing := became - set(codeset.by_code):
            raise LookupError(f"there is no code {' '.join(sorted(missing))}")
        attributes = {one.becomes: codeset.by_code[one.becomes].attributes for one in self.was}
        older = [Code(one.code, one.title, attributes=attributes[one.becomes]) for one in self.was]
        kept = [code for code in codeset.codes if code.code not in became]
        draft.codesets[self.codeset] = msgspec.structs.replace(codeset, codes=(*older, *kept))


Change = (
    EntityAdded | ItemAdded | ItemRemoved | ItemRenamed | ItemChanged | CodesetAdded | CodeAdded | CodeRetitled | CodeRecoded
)  # fmt: skip


class Upgrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that changed from one version to the next."""

    older: str
    newer: str
    description: str
    changes: tuple[Change, ...]


def kind_of(change: Change) -> str:
    """The kind in words, such as `item renamed`."""
    tag: Any = type(change).__struct_config__.tag
    return str(tag).replace("_", " ")
