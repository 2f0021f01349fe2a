"""The language of row filters: one SQL condition over declared columns, parsed against a list of what is allowed.

`and`, `or`, `not`, comparisons, `in`, `is null`, text, whole numbers, true, false, and the parameters `$party`, `$id` and
`$role` of whoever asks. No functions, no queries, no casts. The same condition is written for PostgreSQL and for DuckDB,
always with its values as parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from commonroom.access import codes  # noqa: F401 - registers the room's problem codes
from commonroom.problems import Problem

Dialect = Literal["postgres", "duckdb"]
PARAMETERS = ("party", "id", "role")
MAX_LENGTH = 2000
_CONDITIONS: tuple[type[exp.Expr], ...] = (
    exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Is, exp.Boolean,
)  # fmt: skip
_ALLOWED: tuple[type[exp.Expr], ...] = (
    *_CONDITIONS, exp.Paren, exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Placeholder,
)  # fmt: skip


class Predicate:
    """A condition that has been read and found to say nothing but what the language allows."""

    def __init__(self, text: str, columns: Collection[str], where: str) -> None:
        self.text = text
        self._where = where
        if len(text) > MAX_LENGTH:
            raise self._fault(f"the condition is longer than {MAX_LENGTH} characters")
        try:
            parsed = sqlglot.parse(text, read="duckdb")
        except (SqlglotError, RecursionError) as error:
            raise self._fault("this is not a condition") from error
        if len(parsed) != 1 or parsed[0] is None:
            raise self._fault("there must be exactly one condition")
        self._tree: exp.Expr = parsed[0]
        if not isinstance(self._tree.unnest(), _CONDITIONS):
            raise self._fault("this is a value, not a condition")
        for node in self._tree.walk():
            self._check(node, columns)

    @property
    def parameters(self) -> set[str]:
        """The parameters it names."""
        return {str(node.this) for node in self._tree.find_all(exp.Placeholder)}

    def emit(
        self, dialect: Dialect, values: Mapping[str, Any], first_parameter: int = 1
    ) -> tuple[str, list[Any]]:
        """The condition as SQL, in brackets, with its values in order: `$n` for PostgreSQL, `?` for DuckDB."""
        used: list[Any] = []

        def numbered(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Placeholder):
                return node
            used.append(values[str(node.this)])
            if dialect == "duckdb":
                return exp.Placeholder()
            return exp.Parameter(this=exp.Literal.number(first_parameter + len(used) - 1))

        tree = self._tree.copy().transform(numbered)
        return f"({tree.sql(dialect=dialect, comments=False)})", used

    def _check(self, node: exp.Expr, columns: Collection[str]) -> None:
        if not isinstance(node, _ALLOWED):
            raise self._fault(f"`{node.sql()}` is not in the language")
        if isinstance(node, exp.Column):
            if node.table:
                raise self._fault(f"`{node.sql()}`: columns are named without a table")
            if node.name not in columns:
                raise self._fault(f"there is no column `{node.name}`; there are {', '.join(sorted(columns))}")
        if isinstance(node, exp.Placeholder) and str(node.this) not in PARAMETERS:
            raise self._fault(f"there is no parameter `${node.this}`; there are $party, $id and $role")
        if isinstance(node, exp.Literal) and not node.is_string and not str(node.this).isdigit():
            raise self._fault(f"`{node.this}` is not a whole number")
        if isinstance(node, exp.In) and not node.expressions:
            raise self._fault("`in` goes with a list of values")

    def _fault(self, detail: str) -> Problem:
        return Problem(
            "CR-110",
            f"{detail}, in {self.text[:100]!r}",
            where=self._where,
            remedy="docs/access.md has the language.",
        )
