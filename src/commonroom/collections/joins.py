"""Joins between modules, by our own keys: from a row to the rows above it and to those that stand at most once there."""

from __future__ import annotations

from dataclasses import dataclass, field

from commonroom.collections.model import RETURN, Collection, Module
from commonroom.collections.predicates import quoted
from commonroom.collections.tables import CURRENT, table_name


@dataclass
class Source:
    """A FROM clause: rows known by `alias`, which are rows of `module`, and what is joined to them."""

    collection: Collection
    alias: str
    module: str
    # SQL of the rows themselves, with the alias.
    base: str
    schema: str = CURRENT
    joins: list[str] = field(default_factory=list)
    # Name in conditions -> module.
    modules: dict[str, Module] = field(default_factory=dict)
    # Ancestor -> name under which its row is joined already.
    _joined: dict[str, str] = field(default_factory=dict)

    @property
    def sql(self) -> str:
        """The clause without the word FROM."""
        return " ".join((self.base, *self.joins))

    @property
    def row(self) -> str:
        """SQL of the row's own key."""
        return self.key(self.module)

    def direct_key(self, ancestor: str) -> str | None:
        """SQL of the key of the row's ancestor (or itself) where the row carries it; 1 for the whole return."""
        own = quoted(self.alias)
        if ancestor == RETURN:
            return "1"
        if ancestor == self.module:
            return f"{own}._row"
        if ancestor == self.collection.top(self.module):
            return f"{own}._person"
        if ancestor == self.collection.modules[self.module].parent:
            return f"{own}._parent"
        return None

    def key(self, ancestor: str) -> str:
        """SQL of the key of the row's ancestor; what lies between is joined."""
        key = self.direct_key(ancestor)
        if key is not None:
            return key
        chain = [above.name for above in self.collection.ancestors(self.module)]
        key = f"{quoted(self.alias)}._parent"
        for between in chain[: chain.index(ancestor)]:
            name = self._joined.get(between) or self._join(between, f"_{self.alias}_{between}", key)
            key = f"{quoted(name)}._parent"
        return key

    def reach(self, module: str, alias: str) -> None:
        """Join what `with` names: a row above, or a module with at most one row below the row or one above it."""
        self.modules[alias] = self.collection.modules[module]
        if module in [above.name for above in self.collection.ancestors(self.module)]:
            self._join(module, alias, self.key(module))
            return
        parent = self.collection.modules[module].parent
        own = quoted(alias)
        # A second row, which is a fault of its own, must not double the finding.
        on = f"{own}._ordinal = 1" + (f" AND {own}._parent = {self._single_key(parent)}" if parent else "")
        self.joins.append(f"LEFT JOIN {table_name(self.schema, module)} AS {own} ON {on}")

    def _single_key(self, parent: str) -> str:
        if parent == self.module or parent in [
            above.name for above in self.collection.ancestors(self.module)
        ]:
            return self.key(parent)
        hidden = f"_{self.alias}_{parent}"
        self.reach(parent, hidden)
        return f"{quoted(hidden)}._row"

    def _join(self, module: str, alias: str, key: str) -> str:
        own = quoted(alias)
        self.joins.append(f"LEFT JOIN {table_name(self.schema, module)} AS {own} ON {own}._row = {key}")
        return self._joined.setdefault(module, alias)
