"""The language of conditions: SQL over declared items, parsed against a list of what is allowed, emitted for DuckDB.

There are no queries in it, no tables, and no functions but those that stand here; what is not known is refused.
docs/collections.md has the language for those who write rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, TypeVar

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from commonroom.collections.language import Language as Language
from commonroom.collections.language import language_of as language_of
from commonroom.collections.language import moved as moved
from commonroom.collections.model import LAST, ColumnDef, Module
from commonroom.problems import Problem, add_codes

add_codes({"CR-182": "The rule's condition is not in the language"})

MAX_LENGTH = 10_000
# Our own keys, which every row has.
KEYS = ("_row", "_parent", "_person", "_ordinal")
T = TypeVar("T", bound=exp.Expr)

_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
# Allowed as they are, where what stands in them is allowed.
_PLAIN: tuple[type[exp.Expr], ...] = (
    *_COMPARISONS, exp.And, exp.Or, exp.Not, exp.Paren, exp.Is, exp.Between, exp.Like, exp.Add, exp.Sub, exp.Mul,
    exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.Case, exp.If, exp.Null, exp.Boolean, exp.Literal,
    exp.Coalesce, exp.Nullif, exp.Length, exp.Upper, exp.Lower, exp.Trim, exp.Left, exp.Right, exp.Substring,
    exp.Replace, exp.Abs, exp.Round, exp.Floor, exp.Ceil, exp.Least, exp.Greatest, exp.Year, exp.Month, exp.Day,
    exp.StartsWith, exp.Contains, exp.Concat,
)  # fmt: skip
_AGGREGATES: tuple[type[exp.Expr], ...] = (
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.Filter, exp.Where, exp.Distinct, exp.Star,
)  # fmt: skip
_UNITS = ("DAY", "DAYS", "WEEK", "WEEKS", "MONTH", "MONTHS", "YEAR", "YEARS")
_TRUE = ("1", "true", "y", "yes")
_FALSE = ("0", "false", "n", "no")
_NUMBERS = ("integer", "decimal")


@dataclass(frozen=True)
class Scope:
    """The rows a condition may read, by the names it has for them; `default` is meant where none is written.

    `figures` are measures, by name, with the SQL of each.
    """

    modules: Mapping[str, Module]
    default: str | None
    figures: Mapping[str, str] = field(default_factory=dict)
    aggregates: bool = False


@dataclass(frozen=True)
class Condition:
    """A condition that says nothing but what the language allows, as SQL over the tables."""

    sql: str
    # (alias, item) of every typed value it reads.
    reads: frozenset[tuple[str, str]]
    # Pairs of aliases that it holds equal: `a.x = b.y` joined by AND.
    equal: frozenset[frozenset[str]]
    # The parameters it names, which are given with the statement.
    parameters: frozenset[str]
    # SQL of what a figure is over no rows, where that can be seen: of a count 0, of other aggregates NULL.
    over_none: str = ""


def read(text: str, scope: Scope, language: Language, where: str) -> Condition:
    """Parse a condition, or a figure where the scope has aggregates. Raises Problem CR-182."""
    return _Reader(text, scope, language, where).condition()


@cache
def quoted(name: str) -> str:
    """An identifier as SQL."""
    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")


class _Reader:
    def __init__(self, text: str, scope: Scope, language: Language, where: str) -> None:
        self._text = text
        self._scope = scope
        self._language = language
        self._where = where
        self._reads: set[tuple[str, str]] = set()
        self._parameters: set[str] = set()
        self._depth = 0

    def condition(self) -> Condition:
        if len(self._text) > MAX_LENGTH:
            raise self._fault(f"the condition is longer than {MAX_LENGTH} characters")
        try:
            parsed = sqlglot.parse(self._text, read="duckdb")
        except (SqlglotError, RecursionError) as error:
            raise self._fault("this is not a condition") from error
        if len(parsed) != 1 or parsed[0] is None:
            raise self._fault("there must be exactly one condition")
        tree = self._build(parsed[0])
        sql = tree.sql(dialect="duckdb", comments=False)
        return Condition(
            sql,
            frozenset(self._reads),
            frozenset(_equalities(tree)),
            frozenset(self._parameters),
            _over_none(tree),
        )

    def _build(self, node: exp.Expr) -> exp.Expr:
        self._depth += 1
        if self._depth > 200:
            raise self._fault("it is nested too deeply")
        try:
            special = _SPECIAL.get(type(node))
            if special is not None:
                return special(self, node)
            if isinstance(node, _PLAIN) or (self._scope.aggregates and isinstance(node, _AGGREGATES)):
                return self._plain(node)
        finally:
            self._depth -= 1
        raise self._fault(f"`{node.sql(dialect='duckdb')}` is not in the language")

    def _plain(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, (*_COMPARISONS, exp.Between)):
            self._check_comparison(node)
        return type(node)(**{name: self._argument(value) for name, value in node.args.items()})

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._argument(one) for one in value]
        return self._build(value) if isinstance(value, exp.Expr) else value

    def _column(self, node: exp.Column) -> exp.Expr:
        if not node.table and node.name in self._scope.figures:
            return sqlglot.parse_one(self._scope.figures[node.name], read="duckdb")
        if node.name in KEYS and not isinstance(node.this, exp.Star):
            return _physical(self._rows(node)[0], node.name)
        alias, item = self._item(node)
        self._reads.add((alias, item.name))
        return _physical(alias, item.name)

    def _item(self, node: exp.Expr) -> tuple[str, ColumnDef]:
        """The item that a column names."""
        if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
            raise self._fault(f"`{node.sql(dialect='duckdb')}` is no item")
        alias, module = self._rows(node)
        item = module.by_name.get(node.name)
        if item is None:
            raise self._fault(f"{module.name} has no item `{node.name}`; it has {', '.join(module.by_name)}")
        return alias, item

    def _rows(self, node: exp.Column) -> tuple[str, Module]:
        """The rows of which a column is, by their name here."""
        if node.args.get("db") and f"{node.db}." != LAST:
            raise self._fault(f"`{node.sql(dialect='duckdb')}` is written Module.Item")
        alias = "last" if node.args.get("db") else node.table or self._scope.default
        if alias is None:
            raise self._fault(f"`{node.name}` is written Module.Item")
        module = self._scope.modules.get(alias)
        if module is None:
            known = ", ".join(self._scope.modules)
            raise self._fault(f"there are no rows named `{alias}` here; there are {known}")
        return alias, module

    def _placeholder(self, node: exp.Placeholder) -> exp.Expr:
        name = str(node.this)
        if name not in self._language.parameters:
            known = ", ".join(f"${known}" for known in self._language.parameters)
            raise self._fault(f"there is no parameter `${name}`; there are {known}")
        self._parameters.add(name)
        return exp.Placeholder(this=name)

    def _cast(self, node: exp.Cast) -> exp.Expr:
        """Only as `DATE '2025-04-01'`."""
        text = node.this
        if node.to.this != exp.DType.DATE or not isinstance(text, exp.Literal) or not text.is_string:
            raise self._fault(f"`{node.sql(dialect='duckdb')}` is not in the language")
        try:
            return _literal(date.fromisoformat(text.name))
        except ValueError as error:
            raise self._fault(f"`{text.name}` is no date") from error

    def _interval(self, node: exp.Interval) -> exp.Expr:
        number, unit = node.this, node.args.get("unit")
        if not isinstance(number, exp.Literal) or not number.name.isdigit() or unit is None:
            raise self._fault("an interval is written INTERVAL 45 DAY")
        if unit.name.upper() not in _UNITS:
            raise self._fault(f"`{unit.name}` is no unit here; there are DAY, WEEK, MONTH and YEAR")
        return node.copy()

    def _in(self, node: exp.In) -> exp.Expr:
        codeset = node.args.get("field")
        if isinstance(codeset, exp.Anonymous) and codeset.name.lower() == "codeset":
            return self._in_codeset(self._build(node.this), codeset)
        if codeset is not None or node.args.get("query") is not None or not node.expressions:
            raise self._fault("`in` goes with a list of values, or with codeset('name')")
        self._check_comparison(node)
        return exp.In(this=self._build(node.this), expressions=[self._build(one) for one in node.expressions])

    def _in_codeset(self, value: exp.Expr, call: exp.Anonymous) -> exp.Expr:
        arguments = call.expressions
        name = arguments[0].name if arguments and isinstance(arguments[0], exp.Literal) else ""
        if name not in self._language.codesets:
            raise self._fault(f"there is no code set `{name}` in the standard or the collection")
        if len(arguments) == 1:
            return _one_of(value, self._language.codes(name))
        if len(arguments) != 2:
            raise self._fault("codeset takes a name, and a day if need be")
        day = self._build(arguments[1])
        periods: dict[tuple[date | None, date | None], list[str]] = {}
        for code, since, until in self._language.codesets[name]:
            periods.setdefault((since, until), []).append(code)
        cases = [
            exp.and_(
                _one_of(value.copy(), codes),
                *([exp.GTE(this=day.copy(), expression=_literal(since))] if since else []),
                *([exp.LTE(this=day.copy(), expression=_literal(until))] if until else []),
            )
            for (since, until), codes in periods.items()
        ]
        return exp.Paren(this=exp.or_(*cases))

    def _call(self, node: exp.Anonymous) -> exp.Expr:
        name = node.name.lower()
        if name == "place_in":
            return self._place_in(node)
        if name in _ABOUT_TEXT:
            self._arguments(name, node.expressions, 1)
            alias, item = self._item(node.expressions[0])
            return _ABOUT_TEXT[name](_physical(alias, f"{item.name}__raw"))
        if name not in _HELPERS:
            raise self._fault(f"there is no function `{name}` in the language")
        count, make = _HELPERS[name]
        self._arguments(name, node.expressions, count)
        if name == "matches":
            self._check_pattern(node.expressions[1])
        return make(*(self._build(argument) for argument in node.expressions))

    def _place_in(self, call: exp.Anonymous) -> exp.Expr:
        """Where a code stands in the list of its set, from 1."""
        self._arguments("place_in", call.expressions, 2)
        named, value = call.expressions
        name = named.name if isinstance(named, exp.Literal) and named.is_string else ""
        if name not in self._language.codesets:
            raise self._fault(f"there is no code set `{name}` in the standard or the collection")
        codes = [exp.Literal.string(code) for code, _, _ in self._language.codesets[name]]
        place = exp.Anonymous(
            this="list_position", expressions=[exp.Array(expressions=codes), self._build(value)]
        )
        return exp.Nullif(this=place, expression=_literal(0))

    def _months_between(self, node: exp.MonthsBetween) -> exp.Expr:
        """Known to the parser by a meaning of its own; here it is completed months."""
        return _macro("_months_between")(self._build(node.this), self._build(node.expression))

    def _arguments(self, name: str, given: list[exp.Expr], count: int) -> None:
        if len(given) != count:
            raise self._fault(f"`{name}` takes {count} value{'s' if count > 1 else ''}")

    def _check_pattern(self, pattern: exp.Expr) -> None:
        if not isinstance(pattern, exp.Literal) or not pattern.is_string:
            raise self._fault("the pattern of `matches` is a text in quotes")
        try:
            re.compile(pattern.name)
        except re.error as error:
            raise self._fault(f"`{pattern.name}` is no regular expression ({error.msg})") from error

    def _check_comparison(self, node: exp.Expr) -> None:
        """A text is compared with text, a date with dates: SQL would try to turn one into the other, and break."""
        beside = [node.args.get(name) for name in ("expression", "low", "high")]
        sides = [node.this, *node.expressions, *(side for side in beside if side is not None)]
        for column in (side for side in sides if isinstance(side, exp.Column)):
            if column.name in KEYS or (not column.table and column.name in self._scope.figures):
                continue
            _, item = self._item(column)
            for other in (side for side in sides if isinstance(side, exp.Literal)):
                if not _comparable(item, other):
                    raise self._fault(
                        f"{item.name} is a {item.type}: `{other.sql()}` cannot be compared with it"
                    )

    def _fault(self, detail: str) -> Problem:
        return Problem(
            "CR-182",
            f"{detail}, in {self._text[:200]!r}",
            where=self._where,
            remedy="docs/collections.md has the language.",
        )


def _comparable(item: ColumnDef, literal: exp.Literal) -> bool:
    if item.type in _NUMBERS:
        return not literal.is_string
    if item.type == "date":
        return literal.is_string and bool(re.fullmatch(r"\d{4}-\d\d-\d\d", literal.name))
    return bool(literal.is_string)


def _physical(alias: str, column: str) -> exp.Column:
    return exp.column(exp.to_identifier(column, quoted=True), table=exp.to_identifier(alias, quoted=True))


def _literal(value: str | int | date) -> exp.Expr:
    if isinstance(value, date):
        return exp.Cast(this=exp.Literal.string(value.isoformat()), to=exp.DataType.build("date"))
    return exp.Literal.number(value) if isinstance(value, int) else exp.Literal.string(value)


def _one_of(value: exp.Expr, codes: list[str]) -> exp.Expr:
    return exp.In(this=value, expressions=[exp.Literal.string(code) for code in codes])


def _equalities(tree: exp.Expr) -> list[frozenset[str]]:
    """The pairs of rows that the condition, as a whole, holds equal in some item."""
    found = []
    waiting = [tree]
    while waiting:
        node = waiting.pop().unnest()
        if isinstance(node, exp.And):
            waiting += [node.left, node.right]
        elif isinstance(node, exp.EQ):
            tables = {column.table for column in node.find_all(exp.Column)}
            if len(tables) == 2:
                found.append(frozenset(tables))
    return found


def _over_none(tree: exp.Expr) -> str:
    node = tree.unnest()
    node = node.this if isinstance(node, exp.Filter) else node
    if isinstance(node, exp.Count):
        return "0"
    return "NULL" if isinstance(node, (exp.Sum, exp.Min, exp.Max, exp.Avg)) else ""


def _macro(name: str) -> Callable[..., exp.Expr]:
    """A call of a function that `tables` creates in the database."""
    return lambda *arguments: exp.Anonymous(this=name, expressions=list(arguments))


def _says(value: exp.Expr, words: tuple[str, ...]) -> exp.Expr:
    """True or false, never NULL: a blank says nothing of the kind."""
    listed = _one_of(exp.Lower(this=value), list(words))
    return exp.Coalesce(this=listed, expressions=[exp.false()])


def _is_null(value: exp.Expr) -> exp.Expr:
    return exp.Paren(this=exp.Is(this=value, expression=exp.Null()))


# Asked of the text as written, which may be there where the typed value is not.
_ABOUT_TEXT: dict[str, Callable[[exp.Expr], exp.Expr]] = {
    "raw": lambda value: value,
    "is_blank": _is_null,
    "is_given": lambda value: exp.Not(this=_is_null(value)),
}
_HELPERS: dict[str, tuple[int, Callable[..., exp.Expr]]] = {
    "is_true": (1, lambda value: _says(value, _TRUE)),
    "is_not_true": (1, lambda value: exp.Not(this=_says(value, _TRUE))),
    "is_false": (1, lambda value: _says(value, _FALSE)),
    "matches": (2, _macro("regexp_full_match")),
    "is_weekend": (1, _macro("_is_weekend")),
    "is_working_day": (1, _macro("_is_working_day")),
    "working_days_between": (2, _macro("_working_days_between")),
    "working_days_before": (2, _macro("_working_days_before")),
    "working_days_after": (2, _macro("_working_days_after")),
    "age_on": (2, _macro("_age_on")),
    "minutes_between": (2, _macro("_minutes_between")),
    "upn_check_letter": (1, _macro("_upn_check_letter")),
    "uln_check_digit": (1, _macro("_uln_check_digit")),
}
_SPECIAL: dict[type[exp.Expr], Callable[[_Reader, Any], exp.Expr]] = {
    exp.Column: _Reader._column,
    exp.Placeholder: _Reader._placeholder,
    exp.Cast: _Reader._cast,
    exp.Interval: _Reader._interval,
    exp.In: _Reader._in,
    exp.Anonymous: _Reader._call,
    exp.MonthsBetween: _Reader._months_between,
}
