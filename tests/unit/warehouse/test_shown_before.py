"""Tables of which much is shown in any case, or hidden already: all is protected that hiding all the rest would protect."""

from __future__ import annotations

import random

import msgspec
import pytest

from commonroom.warehouse import suppression
from commonroom.warehouse.suppression import Name, Table, hide, recovered
from tests.unit.warehouse.attacker import by_trying
from tests.unit.warehouse.test_suppression import small_tables


def published_before(chance: random.Random, of: Table) -> Table:
    """The table, where some cells were shown before and others hidden; of some nobody is told more than what they are."""
    cells = {}
    for name, cell in of.cells.items():
        drawn = chance.random()
        cells[name] = msgspec.structs.replace(
            cell,
            never=drawn < 0.45,
            sensitive=drawn >= 0.45 and (cell.sensitive or drawn > 0.85),
            needs=chance.choice([2, 2, max(2, cell.value)]),
        )
    return Table(cells, of.blocks)


def all_that_may_be(of: Table) -> frozenset[Name]:
    """All hidden that is not shown in any case: more protection there is not."""
    return frozenset(name for name, cell in of.cells.items() if cell.sensitive or not cell.never)


def narrow(of: Table, hidden: frozenset[Name]) -> set[Name]:
    return {one.name for one in recovered(of, hidden)}


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))]
)
@pytest.mark.parametrize("large", [400, 0])  # by integer programming, and by moves
def test_only_what_nothing_could_protect_is_given_away(
    seed: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suppression, "_LARGE", large)
    suppression.forget()
    chance = random.Random(seed)
    told = helped = spared = 0
    for one in small_tables(seed, 12):
        table = published_before(chance, one)
        hidden, most = hide(table), all_that_may_be(table)
        assert {name for name, cell in table.cells.items() if cell.sensitive} <= hidden <= most
        values = {name: cell.value for name, cell in table.cells.items()}
        found = by_trying(values, table.sums, hidden)
        assert found == by_trying(values, table.sums, most) & hidden
        assert found <= narrow(table, hidden) <= narrow(table, most) & hidden
        told, helped, spared = told + len(found), helped + len(hidden - found), spared + len(most - hidden)
    print(f"{told} told in any case, {helped} protected, {spared} shown")
    assert told > 0
    assert helped > 0
    assert spared > 0
