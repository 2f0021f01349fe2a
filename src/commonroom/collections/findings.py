"""What is found in a return: findings with their places, outcomes of the rules. Values in them may be personal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from commonroom.collections.compiled import TWINS, Compiled
from commonroom.collections.model import Severity
from commonroom.collections.tables import Tables

Outcome = Literal["passed", "failed", "not_checked"]

BLANK = "(blank)"
# Characters of a value that a finding shows.
MOST_SHOWN = 300
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Location(msgspec.Struct, frozen=True, gc=False):
    """A place in the return. `row` is the row of the module's table; None where the place is the whole return."""

    module: str
    item: str | None
    path: str
    row: int | None
    value: str | None


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One fault or question; the first place is where to fix it."""

    rule: str
    severity: Severity
    message: str
    locations: tuple[Location, ...]


class Report(msgspec.Struct, frozen=True):
    """What the check of a return says. `reasons` tells of each rule that was not checked why."""

    collection: str
    year: int
    records: int
    outcomes: dict[str, Outcome]
    reasons: dict[str, str]
    findings: list[Finding]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def queries(self) -> int:
        """How many findings are queries."""
        return len(self.findings) - self.errors


class Rechecked(msgspec.Struct, frozen=True):
    """What one rule says after an edit. `whole` is true where the findings are those of the whole return."""

    outcome: Outcome
    reason: str
    findings: list[Finding]
    whole: bool


class Place(msgspec.Struct, frozen=True, gc=False):
    """A place whose path is not written yet. `path` is given where there is no row to find it by."""

    module: str
    item: str | None
    row: int | None
    value: str | None
    path: str | None = None
    # Module of `row`, where it is not `module`: the row beside which something is missing.
    row_of: str | None = None


class Raised(msgspec.Struct, frozen=True, gc=False):
    """A finding whose paths are not written yet."""

    rule: str
    severity: Severity
    message: str
    places: tuple[Place, ...]


def raised(compiled: Compiled, rows: Iterable[Sequence[Any]], parameters: dict[str, str]) -> Iterator[Raised]:
    """The findings of a rule, from the rows its statement gave."""
    reader = _RowReader(compiled, parameters)
    for row in rows:
        yield reader.finding(row)


def written(found: list[Raised], tables: Tables) -> list[Finding]:
    """The findings with their paths, in the order given."""
    rows: dict[str, set[int]] = {}
    for place in (place for one in found for place in one.places):
        if place.row is not None and place.path is None:
            rows.setdefault(place.row_of or place.module, set()).add(place.row)
    paths = {module: tables.paths(module, wanted) for module, wanted in rows.items()}

    def locate(place: Place) -> Location:
        path = place.path
        if path is None:
            path = "" if place.row is None else paths[place.row_of or place.module].get(place.row, "")
        row = None if place.row_of else place.row
        return Location(place.module, place.item, path, row, shortened(place.value))

    return [Finding(one.rule, one.severity, one.message, tuple(map(locate, one.places))) for one in found]


def shortened(value: str | None) -> str | None:
    """A value as a finding shows it."""
    return value if value is None or len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]}..."


class _RowReader:
    """Reads the result rows of one statement."""

    def __init__(self, compiled: Compiled, parameters: dict[str, str]) -> None:
        self._compiled = compiled
        self._rule = compiled.rule
        self._each = compiled.rule.for_each
        at = 1
        self._single = {alias: at + place for place, alias in enumerate(compiled.singles)}
        at += len(compiled.singles)
        self._cell = {(cell.alias, cell.item): at + place for place, cell in enumerate(compiled.cells)}
        at += len(compiled.cells)
        self._figure = {name: at + place for place, name in enumerate(compiled.figures)}
        at += len(compiled.figures)
        self._list = {alias: at + place for place, alias in enumerate(compiled.lists)}
        self._member = {
            (alias, cell.item): f"c{place}"
            for alias, cells in compiled.lists.items()
            for place, cell in enumerate(cells)
        }
        self._parameters = parameters
        self._points = [self._point(name) for name in compiled.rule.point_at]

    def finding(self, row: Sequence[Any]) -> Raised:
        message = _PLACEHOLDER.sub(lambda match: self._value(match.group(1), row), self._rule.message)
        places = [place for point in self._points for place in point(row)] or [self._whole(row)]
        return Raised(self._rule.code, self._rule.severity, message, (*places, *self._twins(row)))

    def _whole(self, row: Sequence[Any]) -> Place:
        return Place(self._each or self._rule.belongs_to, None, row[0] if self._each else None, None)

    def _point(self, name: str) -> Callable[[Sequence[Any]], list[Place]]:
        cell = self._rule.cell(name)
        assert cell is not None, "the loader lets no figure through"
        alias, item = cell
        if alias in self._list:
            return lambda row: self._members(alias, item, row)
        if alias == self._each:
            return lambda row: [Place(alias, item, row[0], row[self._cell[cell]])]
        if alias in self._single:
            return lambda row: self._beside(alias, item, row)
        return lambda row: [self._absent(alias, item, row)]

    def _members(self, alias: str, item: str, row: Sequence[Any]) -> list[Place]:
        module, member = self._module(alias), self._member[alias, item]
        return [Place(module, item, one["r"], one[member]) for one in _distinct(row[self._list[alias]])]

    def _beside(self, alias: str, item: str, row: Sequence[Any]) -> list[Place]:
        """The place in a row above; where there is none, the judged row stands for it."""
        module, key = self._compiled.singles[alias], row[self._single[alias]]
        if key is None:
            return [Place(module, item, row[0], None, row_of=self._each)]
        return [Place(module, item, key, row[self._cell[alias, item]])]

    def _absent(self, module: str, item: str, row: Sequence[Any]) -> Place:
        return Place(module, item, row[0] if self._each else None, None, row_of=self._each)

    def _twins(self, row: Sequence[Any]) -> tuple[Place, ...]:
        if TWINS not in self._list:
            return ()
        cells = self._compiled.lists[TWINS]
        others = [one for one in _distinct(row[self._list[TWINS]]) if one["r"] != row[0]]
        return tuple(
            Place(cell.module, cell.item, one["r"], one[f"c{place}"])
            for one in others
            for place, cell in enumerate(cells)
        )

    def _module(self, alias: str) -> str:
        return next(other.table for other in self._rule.others if other.alias == alias)

    def _value(self, name: str, row: Sequence[Any]) -> str:
        if name.startswith("$"):
            return self._parameters[name[1:]]
        if name in self._figure:
            return _number(row[self._figure[name]])
        cell = self._rule.cell(name)
        if cell in self._cell:
            return shortened(row[self._cell[cell]]) or BLANK
        if cell in self._member and cell is not None:
            members = _distinct(row[self._list[cell[0]]])
            return (shortened(members[0][self._member[cell]]) if members else None) or BLANK
        return BLANK


def _distinct(members: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return list({one["r"]: one for one in members or ()}.values())


def _number(value: Any) -> str:
    if value is None:
        return BLANK
    return f"{value:.10g}" if isinstance(value, float) else str(value)
