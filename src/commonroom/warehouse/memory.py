"""What was published before is known to whoever kept it: deciding what to hide beside all earlier releases.

A figure that is released again unchanged is one cell, shown or hidden as it was; a changed one is another *version*, a
cell of its own. The sums of all releases, over the versions that each one had, are one table: what is hidden in it
withstands whoever has them all. So

- what was shown stays known, and protects nobody;
- what was hidden stays hidden, and a new version that is about as large is hidden too;
- there is always an answer: new versions may all be hidden, and then nothing new is told.

`Remembering` wraps the function that hides. Pure: what it learns, `shelf` keeps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from commonroom.warehouse.attack import Cell
from commonroom.warehouse.suppression import Table

Hide = Callable[[Table], frozenset[Any]]
Key = Any  # a figure, whatever its value: what a table calls it, without its time where it has none
Versioned = tuple[Key, int]  # one of its values
Sum = tuple[Versioned, ...]
REST = "rest"
_CHEAPER = 0.2  # it costs to hide what is of a place that has been hidden before


class Version(msgspec.Struct, frozen=True):
    """One value that a figure was released with, or withheld."""

    value: int
    hidden: bool
    needs: int = 0  # how wide it must stay, hidden
    at_most: int | None = None

    def is_near(self, value: int, needs: int) -> bool:
        """Whether showing this value, of the same figure at another time, would tell about what it is."""
        return self.hidden and abs(self.value - value) < max(self.needs, needs)


class Decided(msgspec.Struct):
    """What one release adds: new versions, and the sums that they are in, by kind of table."""

    versions: dict[str, dict[Versioned, Version]] = msgspec.field(default_factory=lambda: defaultdict(dict))
    # What was hidden and is told now by what is shown in any case.
    shown: dict[str, list[Versioned]] = msgspec.field(default_factory=lambda: defaultdict(list))
    sums: dict[str, dict[Sum, None]] = msgspec.field(default_factory=lambda: defaultdict(dict))


class Memory:
    """All versions and sums of one series of releases."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[Key, list[Version]]] = defaultdict(lambda: defaultdict(list))
        self._sums: dict[str, dict[Sum, None]] = defaultdict(dict)
        self._beside: dict[str, dict[Versioned, list[Sum]]] = defaultdict(lambda: defaultdict(list))
        self._withheld: set[tuple[str, str, Any]] = set()

    def learn(self, decided: Decided) -> None:
        """Know what a release added. Versions come in the order of their numbers."""
        for kind, versions in decided.versions.items():
            for (key, number), version in versions.items():
                mine = self._versions[kind][key]
                assert number == len(mine), "releases are learnt in their order"
                mine.append(version)
                if version.hidden and version.needs:
                    self._withheld.add(_place_of(kind, key))
        for kind, names in decided.shown.items():
            for key, number in names:
                before = self._versions[kind][key][number]
                self._versions[kind][key][number] = msgspec.structs.replace(before, hidden=False)
        for kind, sums in decided.sums.items():
            for one in sums:
                if one not in self._sums[kind]:
                    self._sums[kind][one] = None
                    for name in one:
                        if self.version(kind, name).hidden:
                            self._beside[kind][name].append(one)

    @property
    def size(self) -> int:
        """How many versions and sums it has."""
        return sum(map(len, self._versions.values())) + sum(map(len, self._sums.values()))

    def of(self, kind: str, key: Key) -> list[Version]:
        """The versions of a figure, oldest first."""
        return self._versions[kind].get(key, [])

    def version(self, kind: str, name: Versioned) -> Version:
        """One of them."""
        return self._versions[kind][name[0]][name[1]]

    def knows(self, kind: str, one: Sum) -> bool:
        """Whether this sum was released before."""
        return one in self._sums[kind]

    def has_withheld(self, kind: str, key: Key) -> bool:
        """Whether a figure of this measure and place has been hidden, at whatever time."""
        return _place_of(kind, key) in self._withheld

    def around(self, kind: str, names: Iterable[Versioned]) -> Iterator[Sum]:
        """The sums of earlier releases that hidden cells connect with these."""
        due = [name for name in names if name in self._beside[kind]]
        seen, told = set(due), set[Sum]()
        while due:
            for one in self._beside[kind][due.pop()]:
                if one in told:
                    continue
                told.add(one)
                yield one
                more = [name for name in one if name in self._beside[kind] and name not in seen]
                seen.update(more)
                due += more


class Remembering:
    """`hide`, of figures that may have been published before. Good for one release; then `decided` says what is new."""

    def __init__(
        self,
        memory: Memory,
        hide: Hide,
        times: Mapping[str, str],
        told_before: Collection[str] = (),
    ) -> None:
        """`times`: under which time each of a table's is remembered; "" where it is a figure at any time.

        `told_before`: the times whose figures have been released, and are in the table for what they tell. What has become
        known of them since is not released: of a school, whoever knew the figure is taken to know that too.
        """
        self._memory, self._hide, self._times = memory, hide, times
        self._told_before = told_before
        self._fresh: dict[str, dict[Key, list[Version]]] = defaultdict(dict)
        self._sums: dict[str, dict[Sum, None]] = defaultdict(dict)
        self._hidden: dict[str, set[Versioned]] = defaultdict(set)
        self._shown: dict[str, list[Versioned]] = defaultdict(list)

    def __call__(self, table: Table) -> frozenset[Any]:
        """Every cell of the table to hide."""
        placed = _Placed(table)
        names = {name: self._place(placed, name, cell) for name, cell in table.cells.items()}
        for block in table.blocks:
            placed.blocks.append(tuple(tuple(names[name] for name in one) for one in block))
        new = [one for block in placed.blocks for one in block if not self._memory.knows(table.kind, one)]
        self._sums[table.kind].update(dict.fromkeys(new))
        hidden = placed.before
        if new or placed.is_new:
            hidden = hidden | self._hide(self._with_earlier(placed))
        self._hidden[table.kind] |= hidden
        return frozenset(name for name, one in names.items() if one in hidden) - placed.untold | placed.forced

    @property
    def decided(self) -> Decided:
        """What the release adds to what is remembered."""
        found = Decided(shown=self._shown)
        for kind, keys in self._fresh.items():
            for key, versions in keys.items():
                first = len(self._memory.of(kind, key))
                for number, version in enumerate(versions, first):
                    hidden = (key, number) in self._hidden[kind]
                    found.versions[kind][key, number] = msgspec.structs.replace(version, hidden=hidden)
        for kind, sums in self._sums.items():
            found.sums[kind].update(sums)
        return found

    def _place(self, placed: _Placed, name: Any, cell: Cell) -> Versioned:
        """The version that a cell is; of one that was released before, with what was decided then."""
        kind, key = placed.kind, self._key(name)
        known = self._memory.of(kind, key)
        for number, version in enumerate(known):
            if version.value == cell.value:
                if version.hidden and cell.never:
                    self._shown[kind].append((key, number))
                placed.add_known((key, number), None if self._is_told(name) else name, cell, version)
                return key, number
        fresh = self._fresh[kind].setdefault(key, [])
        number = next((number for number, one in enumerate(fresh) if one.value == cell.value), len(fresh))
        if self._is_told(name):
            # A school knows its own; what others' totals have become is told to nobody.
            is_known = key[1][0] == "school" and any(not version.hidden for version in known)
            # Small, or about what was hidden, it is not to be told by its week either.
            is_small = cell.sensitive or any(version.is_near(cell.value, cell.needs) for version in known)
            needs = cell.needs if is_small and not is_known else 0
            cell = msgspec.structs.replace(cell, sensitive=not is_known, never=is_known, needs=needs)
            if not needs:
                placed.untold |= {name}
        if number == len(fresh):
            fresh.append(Version(cell.value, cell.sensitive, cell.needs, cell.at_most))
        if not cell.never and any(version.is_near(cell.value, cell.needs) for version in known):
            cell = msgspec.structs.replace(cell, sensitive=True)
        if self._memory.has_withheld(kind, key):
            # Rather the same schools each day than one more each day: their weeks can be shown all the same.
            cell = msgspec.structs.replace(cell, cost=cell.cost * _CHEAPER)
        placed.add((key, len(known) + number), cell)
        placed.is_new = True
        return key, len(known) + number

    def _is_told(self, name: Any) -> bool:
        return _is_figure(name) and name[2] in self._told_before

    def _key(self, name: Any) -> Key:
        if name[0] == REST:
            _, total, parts = name
            return REST, self._key(total), tuple(self._key(part) for part in parts)
        measure, place, time = name
        return measure, place, self._times.get(time, time)

    def _with_earlier(self, placed: _Placed) -> Table:
        """The table with all that earlier releases told of its cells."""
        mine = {one for block in placed.blocks for one in block}
        earlier = [one for one in self._memory.around(placed.kind, placed.cells) if one not in mine]
        for name in (name for one in earlier for name in one if name not in placed.cells):
            version = self._memory.version(placed.kind, name)
            placed.add_known(name, None, Cell(version.value, at_most=version.at_most), version)
        blocks = [*placed.blocks, tuple(earlier)] if earlier else placed.blocks
        return Table(placed.cells, tuple(block for block in blocks if block), placed.kind)


class _Placed:
    """A table over versions, as it grows."""

    def __init__(self, table: Table) -> None:
        self.kind = table.kind
        self.cells: dict[Any, Cell] = {}
        self.blocks: list[tuple[Sum, ...]] = []
        self.before: frozenset[Versioned] = frozenset()  # hidden by earlier releases
        # Known to all, and yet to be withheld beside what it stands with.
        self.forced: frozenset[Any] = frozenset()
        # Not released, and nothing that must be withheld.
        self.untold: frozenset[Any] = frozenset()
        self.is_new = False

    def add(self, name: Versioned, cell: Cell) -> None:
        """A cell; of two that are the same version, what either demands."""
        other = self.cells.get(name)
        if other is not None:
            cell = msgspec.structs.replace(
                cell,
                sensitive=cell.sensitive or other.sensitive,
                needs=max(cell.needs, other.needs),
                cost=max(cell.cost, other.cost),
                never=cell.never or other.never,
                may_be_nought=cell.may_be_nought and other.may_be_nought,
                at_most=min((one for one in (cell.at_most, other.at_most) if one is not None), default=None),
            )
        self.cells[name] = cell

    def add_known(self, name: Versioned, given: Any, cell: Cell, version: Version) -> None:
        """A cell that was released before: `given` is its name in the table, None where it is in none."""
        if version.hidden and not cell.never:
            self.before |= {name}
            self.add(
                name, msgspec.structs.replace(cell, sensitive=True, needs=max(cell.needs, version.needs))
            )
            return
        if cell.sensitive and given is not None:
            self.forced |= {given}
        self.add(name, msgspec.structs.replace(cell, sensitive=False, never=True))


def _is_figure(key: Any) -> bool:
    """Whether a key is a figure's, and not what a sum lacks."""
    return bool(key[0] != REST)


def _place_of(kind: str, key: Any) -> tuple[str, str, Any]:
    return kind, key[0], key[1]
