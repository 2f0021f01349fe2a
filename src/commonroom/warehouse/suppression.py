"""Secondary suppression: which further cells to hide, so that totals do not give the sensitive ones away.

A table is cells and sums: this total is those parts. Whoever reads it knows every sum, every cell that is shown, that no
cell is negative, and that nothing but 0 is 0. `hide` finds the cheapest cells to hide beside the sensitive ones such that
no hidden cell can be worked out, and no sensitive one narrowed down further than it `needs`. Small tables are an integer
programme whose constraints are found by attacking each proposal with linear programmes (Fischetti and Salazar-Gonzalez's
method): what comes out has passed the attack. Large ones are solved by moves (`flows`), each of which proves what it hides.
The same tables give the same answer in every process.

Pure: numbers in, names of cells out. What a cell means, `publication` knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Iterable, Sequence
from functools import lru_cache

import msgspec

from commonroom import log
from commonroom.warehouse.attack import Attack, Cell, Range, Sum, ceiling, components
from commonroom.warehouse.flows import Moves
from commonroom.warehouse.solver import Programme
from commonroom.warehouse.turns import Kept

_log = log.get("warehouse")

Name = Hashable
# How far below and above its value a hidden cell was seen to be possible.
Proven = dict[Name, tuple[float, float]]
_LARGE = 400  # cells: parts of more are solved by moves, those of fewer by integer programming
_TINY = 1e-6
# Parts of tables already solved: most parts of a new day's table are yesterday's. A nation's term has about 6,000.
_KEPT = 8192


class Table(msgspec.Struct, frozen=True):
    """What is published together. `blocks` are the parts in which it is solved, finest first.

    `kind`: what its numbers are, where several tables have the same names: "" what is counted, or the denominators.
    """

    cells: dict[Name, Cell]
    blocks: tuple[tuple[Sum, ...], ...]
    kind: str = ""

    @property
    def sums(self) -> list[Sum]:
        """Every sum of the table."""
        return [one for block in self.blocks for one in block]


def hide(table: Table) -> frozenset[Name]:
    """Every cell to hide: the sensitive ones and those that protect them."""
    hidden = frozenset(name for name, cell in table.cells.items() if cell.sensitive)
    if not hidden:
        return hidden
    if all(table.cells[name].needs == 0 for name in hidden):
        return hidden
    proven: Proven = {}
    hidden = _by_blocks(table, hidden, proven)
    # Each block is safe alone; together they may say more. Parts of the table that still give something away are
    # solved as one.
    around = _Around(table)
    while True:
        before = hidden
        for part in components(table.sums, hidden):
            if _is_open(table, part, before, proven):
                wider, shared = around.widened(part)
                hidden = hidden | _solved(table, wider, hidden, shared, proven, again=True)
        if hidden == before:
            return hidden


def recovered(table: Table, hidden: Collection[Name]) -> list[Range]:
    """The hidden cells that a reader of the rest can work out, or narrow down further than they need."""
    chosen = frozenset(hidden)
    return [one for part in components(table.sums, chosen) for one in _recovered(table, part, chosen)]


class _Around:
    """The sums of a table around a part of it."""

    def __init__(self, table: Table) -> None:
        self._sums = table.sums
        self._of: dict[Name, list[int]] = {}
        for number, one in enumerate(self._sums):
            for name in one:
                self._of.setdefault(name, []).append(number)

    def widened(self, part: Sequence[Sum]) -> tuple[Sequence[Sum], frozenset[Name]]:
        """A large part with every sum that its cells are in, and the cells of it that further sums have.

        A cell that was shown until now may stand in sums without a hidden cell, which are not of the part: hidden, it
        must satisfy those too, and a move that knows nothing of them proves nothing.
        """
        names = {name for one in part for name in one}
        if len(names) <= _LARGE:
            return part, frozenset()
        mine = {number for name in names for number in self._of[name]}
        wider = [self._sums[number] for number in sorted(mine)]
        return wider, frozenset(name for one in wider for name in one if not mine.issuperset(self._of[name]))


def _by_blocks(table: Table, hidden: frozenset[Name], proven: Proven) -> frozenset[Name]:
    """Solve block after block; a total that one had to hide is a cell of another, which is then solved again."""
    where: dict[Name, set[int]] = {}
    for number, block in enumerate(table.blocks):
        for one in block:
            for name in one:
                where.setdefault(name, set()).add(number)
    shared = frozenset(name for name, blocks in where.items() if len(blocks) > 1)
    due = {number for name in hidden for number in where.get(name, ())}
    while due:
        # Sweep by sweep: what many blocks share is solved again once for all of them.
        for number in sorted(due):
            due.discard(number)
            more = _solved(table, table.blocks[number], hidden, shared, proven) - hidden
            hidden = hidden | more
            due |= {other for name in more for other in where[name] if other != number}
    return hidden


def _recovered(table: Table, part: Sequence[Sum], hidden: frozenset[Name]) -> list[Range]:
    known = _Part.of(table, part, hidden)
    names = known.names
    return [msgspec.structs.replace(one, name=names[one.name]) for one in _attacked(known.form)]


def _is_open(table: Table, part: Sequence[Sum], hidden: frozenset[Name], proven: Proven) -> bool:
    """Whether something of a part is given away. What is proven to be wide is not asked again, nor is what was found."""
    known = _Part.of(table, part, hidden)
    seen = {number: proven[name] for number in known.form.hidden if (name := known.names[number]) in proven}
    cells = known.form.cells
    if all(number in seen and _is_wide(cells[number], seen[number]) for number in known.form.hidden):
        return False
    if not seen:
        return bool(_attacked(known.form))
    attack = Attack(cells, known.form.sums, known.form.hidden, seen=seen)
    found = attack.open_cells()
    # Nothing but these sums has a cell of these, so what is possible here is possible.
    proven.update((known.names[number], attack.seen(number)) for number in known.form.hidden)
    return bool(found)


def _is_wide(cell: Cell, seen: tuple[float, float]) -> bool:
    return seen[1] - seen[0] >= cell.needs - _TINY


def _solved(
    table: Table,
    part: Sequence[Sum],
    hidden: frozenset[Name],
    shared: frozenset[Name],
    proven: Proven,
    *,
    again: bool = False,
) -> frozenset[Name]:
    """The cells of a part to hide; how far cells are seen to move while those `shared` rest is noted in `proven`.

    `again`: it was solved in parts, and most of its cells are proven to be wide.
    """
    known = _Part.of(table, part, hidden)
    names = known.names
    if len(names) <= _LARGE:
        return frozenset(names[number] for number in _solve(known.form))
    resting = frozenset(number for number, name in enumerate(names) if name in shared)
    if again:
        seen = tuple((number, *proven[name]) for number, name in enumerate(names) if name in proven)
        answer = _moved(known.form, resting, seen)
    else:
        answer = _move(known.form, resting)
    for number, low, high in answer.seen:
        before = proven.get(names[number], (0.0, 0.0))
        proven[names[number]] = min(low, before[0]), max(high, before[1])
    return frozenset(names[number] for number in answer.hidden)


class _Form(msgspec.Struct, frozen=True):
    """A part of a table without its names: what the answer depends on, and therefore the key it is kept under."""

    cells: tuple[Cell, ...]
    sums: tuple[tuple[int, ...], ...]
    hidden: frozenset[int]


class _Part(msgspec.Struct, frozen=True):
    names: list[Name]
    form: _Form

    @classmethod
    def of(cls, table: Table, part: Iterable[Sum], hidden: frozenset[Name]) -> _Part:
        sums = list(part)
        names = list(dict.fromkeys(name for one in sums for name in one))
        place = {name: number for number, name in enumerate(names)}
        form = _Form(
            cells=tuple(table.cells[name] for name in names),
            sums=tuple(tuple(place[name] for name in one) for one in sums),
            hidden=frozenset(place[name] for name in names if name in hidden),
        )
        return cls(names, form)


@lru_cache(4096)
def _attacked(form: _Form) -> tuple[Range, ...]:
    attack = Attack(form.cells, form.sums, form.hidden)
    return tuple(attack.range_of(number) for number in attack.open_cells())


@lru_cache(4096)
def _solve(form: _Form) -> frozenset[int]:
    """A cheap set of cells, those already hidden among it, that withstands the attack."""
    programme = _programme(form)
    hidden, attack = form.hidden, None
    while True:
        attack = Attack(form.cells, form.sums, hidden, attack)
        cuts = [attack.cut(number) for number in attack.open_cells()]
        if not cuts:
            return hidden
        for cut in cuts:
            programme.at_least(cut.weights, 0.0)
        chosen = programme.solve()
        if chosen is None:
            eased = _eased(form)
            return _whole(form) if eased == form else _solve(eased)
        # What was hidden stays so: then what was found free need not be tried again.
        hidden = hidden | {number for number in chosen if number < len(form.cells)}
        for number in hidden:
            programme.fix(number)


class _Answer(msgspec.Struct, frozen=True):
    hidden: frozenset[int]
    # How far down and up hidden cells can move while what other parts share rests.
    seen: tuple[tuple[int, float, float], ...]


_answers = Kept(_KEPT)


def _move(form: _Form, resting: frozenset[int]) -> _Answer:
    """The same for a large form, by moves. Kept under its digest: the forms of a nation are too many to keep whole."""
    key = hashlib.blake2b(msgspec.msgpack.encode((form, sorted(resting)), order="sorted")).digest()
    found: _Answer | None = _answers.get(key)
    if found is None:
        found = _moved(form, resting)
        _answers.put(key, found)
    return found


def _moved(form: _Form, resting: frozenset[int], seen: Collection[tuple[int, float, float]] = ()) -> _Answer:
    """`seen`: how far cells are known to go in any case."""
    moves = Moves(form.cells, form.sums, form.hidden, resting, ceiling(form.cells), seen)
    if (seen and moves.widen_near()) or moves.widen():
        return _Answer(moves.chosen, moves.seen_alone)
    eased = _eased(form)
    if eased != form:
        return _moved(eased, resting, seen)  # what was moved before is not all hidden in it
    return _Answer(_whole(form), moves.seen_alone)


def _whole(form: _Form) -> frozenset[int]:
    """Not within the work allowed: what is left is to show nothing but what is shown in any case."""
    _log.warning("a part of a table is hidden whole", cells=len(form.cells))
    return form.hidden | _everything(form)


def _everything(form: _Form) -> frozenset[int]:
    return frozenset(number for number, cell in enumerate(form.cells) if not cell.never)


def _eased(form: _Form) -> _Form:
    """The form where nothing needs more than it has when everything is hidden: other figures could not help it.

    Beside a sensitive cell that is told in any case, the shortest of its sums is hidden whole, and no more than that.
    """
    attack = Attack(form.cells, form.sums, form.hidden | _everything(form))
    cells, hidden = list(form.cells), set(form.hidden)
    for number in attack.open_cells():
        found = attack.range_of(number)
        cells[number] = msgspec.structs.replace(cells[number], needs=int(found.high - found.low + _TINY))
        mine = [one for one in form.sums if number in one]
        if cells[number].sensitive and not cells[number].needs and mine:
            shortest: tuple[int, ...] = min(mine, key=len)
            hidden |= _everything(form).intersection(shortest)
    return msgspec.structs.replace(form, cells=tuple(cells), hidden=frozenset(hidden))


def _programme(form: _Form) -> Programme:
    """One yes-or-no variable a cell, and what every answer must at least satisfy."""
    programme = Programme()
    for number, cell in enumerate(form.cells):
        programme.binary(cost=cell.cost, fixed=number in form.hidden, never=cell.never)
    for one in form.sums:
        # Nothing of a sum is hidden, or at least two of its cells.
        any_hidden = programme.binary(cost=0.0, fixed=False)
        for number in one:
            if form.cells[number].needs:
                programme.at_least({any_hidden: 1.0, number: -1.0}, 0.0)
        programme.at_least({**dict.fromkeys(one, 1.0), any_hidden: -2.0}, 0.0)
    return programme


def sensitive_only(table: Table) -> frozenset[Name]:
    """What would be hidden without secondary suppression: for the tests that show why there is one."""
    return frozenset(name for name, cell in table.cells.items() if cell.sensitive)


def forget() -> None:
    """Know of no table solved before: for benchmarks, which would otherwise measure what is kept."""
    _answers.clear()
    _solve.cache_clear()
    _attacked.cache_clear()
