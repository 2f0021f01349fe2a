"""What the compiler makes of a rule: its statement, and what each column of the answer is."""

from __future__ import annotations

from dataclasses import dataclass

from commonroom.collections.model import Rule

# The list of rows that share a value which should be unique.
TWINS = "_twins"


@dataclass(frozen=True)
class Cell:
    """A value that a finding names, of the rows known by `alias`, which are rows of `module`."""

    alias: str
    module: str
    item: str


@dataclass(frozen=True)
class Compiled:
    """A rule ready to run. A result row has, in this order: the judged row; the row of each of `singles`; each of
    `cells`; each of `figures`; for each of `lists` a list of `{r: row, c0: value, ...}`."""

    rule: Rule
    sql: str
    # The same for one record, whose row is the parameter $person; empty where the rule looks beyond a record.
    sql_for_record: str
    # Alias -> module, for rows beside the judged one of which there is one at most.
    singles: dict[str, str]
    cells: tuple[Cell, ...]
    figures: tuple[str, ...]
    # Alias -> the cells of its rows.
    lists: dict[str, tuple[Cell, ...]]
    # Counts the rows that cannot be judged because a value could not be read; empty where there is no such value.
    unread_sql: str
    # Names of the parameters of the statement.
    parameters: frozenset[str]
    # (module, item) of the typed values that its conditions read.
    reads: frozenset[tuple[str, str]]
    # Where the rule is no more than this over a row and what `with` joins to it; else empty.
    condition: str
