"""The shapes of a collection's declarations: who returns what and when, its modules, its rules.

Nothing here reads files (see `loader`), knows SQL (see `predicates`) or judges a return (see `engine`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from typing import Any, Literal

import msgspec

from commonroom.collections.file_model import FileMap, FileName
from commonroom.collections.live_model import Live

ItemType = Literal["string", "integer", "decimal", "date", "datetime", "time", "boolean", "code"]
Severity = Literal["error", "query"]
Status = Literal["released", "proposed", "base"]

# The name under which a rule speaks of the whole return, where it could also name a module.
RETURN = "return"
# Put before a module's name, it means that module of the sender's previous return.
LAST = "last_return."
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A part of a declaration: unknown keys are faults."""


class ColumnDef(Strict, frozen=True):
    """One item of a module: a column of its table, an element of its files."""

    name: str
    type: ItemType = "string"
    title: str = ""
    description: str = ""
    # Element below the module's own, such as `CollectionDetails/Year`; `.` is the module's element itself.
    # Without it, the element has the item's name.
    path: str | None = None
    # Number in the Common Basic Data Set, and `entity.item` of the standard.
    cbds: str | None = None
    item: str | None = None
    required: bool = False
    codeset: str | None = None
    # Most characters.
    length: int | None = None
    # The whole value must fit this regular expression.
    pattern: str | None = None
    minimum: str | None = None
    maximum: str | None = None
    personal: bool = False
    # Built-in check -> code of the rule that makes it in its place, such as `{code: "4180", required: "4180"}`.
    checked_by: dict[str, str] = {}

    @property
    def element(self) -> str:
        """The element's path below the module's element."""
        return self.path or self.name


class Place(Strict, frozen=True):
    """A further element whose occurrences are rows of the same module; `set` fills items the element lacks."""

    path: str
    set: dict[str, str] = {}


class Module(Strict, frozen=True):
    """A table of the return. `path` is the element of one row: from the root, or from the parent's element."""

    name: str
    path: str = ""
    parent: str | None = None
    # False: at most one for each parent, so that its items may be read as the parent's own.
    many: bool = True
    title: str = ""
    description: str = ""
    # Entity of the standard whose records the rows are.
    entity: str | None = None
    required: bool = False
    # Items filled by where the row stands, not by an element of its own.
    set: dict[str, str] = {}
    # Names of items and of modules right below, as they follow one another in a file; the others come after.
    order: tuple[str, ...] = ()
    also_at: tuple[Place, ...] = ()
    # What tells its rows apart within their parent: items, or `Module.Item` of a module with `many: false` below.
    # Without it, the items that are the key of their entity of the standard.
    identity: tuple[str, ...] = ()
    items: tuple[ColumnDef, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, ColumnDef]:
        """The items by name, in their order."""
        return {item.name: item for item in self.items}


class Other(Strict, frozen=True):
    """Rows of a module beside the row that is judged: under the same ancestor, or anywhere in the return.

    `where` may read them under the name `as` (without it, the module's name) and the judged row.
    """

    module: str
    name: str | None = msgspec.field(default=None, name="as")
    same: str | None = None
    # Ancestors of these rows (or their modules with `many: false`) that `where` reads: as `<as>_<Module>`
    # where `as` is given.
    reach: tuple[str, ...] = msgspec.field(default=(), name="with")
    where: str | None = None

    @property
    def alias(self) -> str:
        """The name its columns have in conditions and messages."""
        return self.name or ("last" if self.module.startswith(LAST) else self.module)

    @property
    def reached(self) -> dict[str, str]:
        """Name in conditions -> module of what it reaches."""
        return {f"{self.name}_{module}" if self.name else module: module for module in self.reach}

    @property
    def is_last(self) -> bool:
        """True for rows of the previous return."""
        return self.module.startswith(LAST)

    @property
    def table(self) -> str:
        """The module's name without the mark of the previous return."""
        return self.module.removeprefix(LAST)


class Unique(Strict, frozen=True):
    """Items that no other row may repeat; a blank in any of them never counts."""

    items: tuple[str, ...]
    same: str = RETURN
    where: str | None = None


class Measure(Strict, frozen=True):
    """Figures over the rows of a module: for the whole return, or for each row of an ancestor."""

    over: str
    values: dict[str, str]
    # The name under which `point_at` names the rows that are counted; without it the module's name.
    name: str | None = msgspec.field(default=None, name="as")
    each: str = RETURN
    reach: tuple[str, ...] = msgspec.field(default=(), name="with")
    where: str | None = None

    @property
    def other(self) -> Other:
        """What it counts, as rows beside the judged one."""
        return Other(module=self.over, name=self.name, same=self.each, reach=self.reach, where=self.where)


class Rule(Strict, frozen=True):
    """One rule of a collection. It fails for a row where its condition holds."""

    code: str
    severity: Severity
    title: str
    message: str
    # Without it the rule judges the return as a whole.
    for_each: str | None = None
    fails_when: str | None = None
    # Whether "confirmed as correct" is enough of an answer to a query, or a reason is wanted; and which.
    reason: Literal["confirm", "explain"] | None = None
    reason_wanted: str = ""
    module: str | None = None
    description: str = ""
    reach: tuple[str, ...] = msgspec.field(default=(), name="with")
    lookup: tuple[Other, ...] | Other = ()
    pair_with: Other | None = None
    unique: Unique | None = None
    none_of: tuple[Other, ...] | Other = ()
    any_of: tuple[Other, ...] | Other = ()
    measures: tuple[Measure, ...] | Measure = ()
    when_no_last_return: Literal["skip", "empty"] = "skip"
    point_at: tuple[str, ...] = ()
    examples: tuple[dict[str, Any], ...] = ()
    mutate: dict[str, Any] | None = None
    # Why the rule differs from a published form of it, where it does.
    deviation: str = ""
    # Set by the loader for rules that did not come with the collection, such as an LA's own.
    source: str = ""

    @cached_property
    def lookups(self) -> tuple[Other, ...]:
        """The declared look-ups, one or several."""
        return _several(self.lookup)

    @cached_property
    def absences(self) -> tuple[Other, ...]:
        """What must not exist for the rule to fail."""
        return _several(self.none_of)

    @cached_property
    def presences(self) -> tuple[Other, ...]:
        """What must exist, at least one of them, for the rule to fail."""
        return _several(self.any_of)

    @cached_property
    def counted(self) -> tuple[Measure, ...]:
        """The declared measures, one or several."""
        return _several(self.measures)

    @cached_property
    def beside(self) -> tuple[Other, ...]:
        """The sets of rows beside the judged one that are compared with it."""
        return (*self.lookups, *self.pairs, *self.absences, *self.presences)

    @cached_property
    def pairs(self) -> tuple[Other, ...]:
        """The rows it is paired with, if any."""
        return (self.pair_with,) if self.pair_with else ()

    @cached_property
    def others(self) -> tuple[Other, ...]:
        """Every set of rows beside the judged one that the rule reads, those it only counts among them."""
        return (*self.beside, *(measure.other for measure in self.counted))

    @cached_property
    def figures(self) -> tuple[str, ...]:
        """The names of its measures."""
        return tuple(name for measure in self.counted for name in measure.values)

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """What the message names in braces."""
        return tuple(_PLACEHOLDER.findall(self.message))

    def cell(self, written: str) -> tuple[str, str] | None:
        """The name of the rows and the item that `Item` or `Module.Item` means; None for a figure or a parameter."""
        if written.startswith("$") or written in self.figures:
            return None
        table, _, item = written.rpartition(".")
        return ("last" if written.startswith(LAST) else table or self.for_each or ""), item

    @property
    def needs_last_return(self) -> bool:
        """True where the rule compares with the sender's previous return."""
        return any(other.is_last for other in self.others)

    @property
    def belongs_to(self) -> str:
        """The module under which people look for it."""
        return self.module or self.for_each or (self.others[0].table if self.others else RETURN)


class Change(Strict, frozen=True):
    """What an overlay changes of a rule it inherits, apart from the condition."""

    code: str
    severity: Severity | None = None
    title: str | None = None
    message: str | None = None
    reason: Literal["confirm", "explain"] | None = None
    reason_wanted: str | None = None
    # Its fault from end to end, where the other year's return lacks what the first one changed.
    mutate: dict[str, Any] | None = None


class Period(Strict, frozen=True):
    """First and last day of what the return speaks of, both inclusive."""

    start: date
    end: date


class LocalCode(Strict, frozen=True):
    """One code of a code set that only this collection knows."""

    code: str
    title: str
    since: date | None = None
    until: date | None = None


class LocalCodeset(Strict, frozen=True):
    """A list of codes of the collection itself; lists that others use too belong to the standard."""

    name: str
    title: str
    codes: tuple[LocalCode, ...]
    source: str = ""
    open: bool = False


class Workflow(Strict, frozen=True):
    """Who checks the return and when its sender is reminded."""

    approver: str = "local_authority"
    collector: str = "department"
    # Days before the deadline.
    reminders: tuple[int, ...] = (14, 7, 1)
    # Whether the authority also approves the returns of its academies; else they send theirs to the collector.
    approves_academies: bool = False
    description: str = ""


class Cover(Strict, frozen=True):
    """The file collection.yaml, as written: an overlay may leave out what it inherits."""

    name: str
    year: int
    title: str | None = None
    status: Status | None = None
    description: str | None = None
    returned_by: tuple[str, ...] | None = None
    reference_date: date | None = None
    # Item whose date rules take for the reference date, the period moving with it; such as Header.ReferenceDate.
    reference_date_from: str | None = None
    period: Period | None = None
    opens: date | None = None
    deadline: date | None = None
    # Item of the module Header -> what it must say in a file of this collection.
    header: dict[str, str] | None = None
    file_name: FileName | None = None
    # Module of the records that are counted; without it the first top-level module with `many: true`.
    record: str | None = None
    inherits: str | None = None
    retire: tuple[str, ...] = ()
    change: tuple[Change, ...] = ()
    # Modules, or `Module.Item`, that the year no longer has.
    drop: tuple[str, ...] = ()
    modules: tuple[Module, ...] = ()
    codesets: tuple[LocalCodeset, ...] = ()
    workflow: Workflow | None = None
    publishes: str | None = None
    # What the rules may read as `$name`, beside `$reference_date`, `$period_start`, `$period_end` and `$year`.
    parameters: dict[str, str] = {}


class RuleFile(Strict, frozen=True):
    """The file rules.yaml, or one of the folder rules/."""

    rules: tuple[Rule, ...]


class Collection(Strict, frozen=True):
    """One collection of one year, complete: what it inherits is in it."""

    name: str
    year: int
    title: str
    status: Status
    description: str
    returned_by: tuple[str, ...]
    reference_date: date
    reference_date_from: str | None
    period: Period
    opens: date | None
    deadline: date | None
    header: dict[str, str]
    file_name: FileName | None
    record: str
    modules: dict[str, Module]
    rules: dict[str, Rule]
    files: FileMap
    codesets: dict[str, LocalCodeset]
    workflow: Workflow
    publishes: str
    parameters: dict[str, str]
    # The folders it was read from, its own first.
    folders: tuple[str, ...]
    # Module -> how its rows are made from the record.
    live: dict[str, tuple[Live, ...]] = {}

    def ancestors(self, module: str) -> Iterator[Module]:
        """The modules above this one, nearest first."""
        above = self.modules[module].parent
        while above is not None:
            yield self.modules[above]
            above = self.modules[above].parent

    def top(self, module: str) -> str:
        """The module at the head of this one's branch: the record it is part of."""
        return [module, *(above.name for above in self.ancestors(module))][-1]

    def children(self, module: str | None) -> list[Module]:
        """The modules right below; those at the top for None."""
        return [below for below in self.modules.values() if below.parent == module]


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
