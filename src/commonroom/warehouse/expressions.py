"""The little language of measures: a Python expression, of which only what is listed here is allowed, made into Ibis.

    code.category in ('authorised_absence', 'unauthorised_absence')     an attribute that the code set gives to the code
    entry_date <= on and (leaving_date is None or leaving_date >= on)   `on` is the day a state is taken
    sum(missed), count(missed * 10 >= possible)                         over the rows of a stage; conditions count as 1 or 0
    leaving_date >= days_before(on, 60)     so many days earlier
    admission_year == next_academic_year(on)     the name of the academic year of a day, or of the one after: 2026/27
    max(whole(result) if subject == 'REA' else 0)     a text of digits as a number; the largest (of `elsewhere` alone)
    months(entry_date, leaving_date, nc_year == '12')     in which of six months (see `half_year`; of `elsewhere` alone)
    (in_school | in_college) == 63     months of one thing or another
    sum(hundredths(hours) * 100 // hundredths(full) if end is None else 0)     decimals become whole hundredths

All arithmetic is on whole numbers, so that every engine gives the same answer to the last digit.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ibis

from commonroom.problems import Problem, add_codes
from commonroom.standard import Codeset
from commonroom.warehouse import half_year

add_codes({"CR-062": "The measure's declaration cannot be used"})

MAX_LENGTH = 500
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.BitOr: operator.or_,
}  # fmt: skip
TOTALS = ("sum", "count")
_MAX, _MONTHS = "max", "months"
_HUNDREDTHS = "hundredths"
_WHOLE = "whole"
_DIGITS = "^[0-9]{1,9}$"
# Of a day, the name of its academic year ("2026/27") and of the one after: how far on from the year of the day each is.
_YEARS = {"academic_year": 0, "next_academic_year": 1}
_SEPTEMBER = 9
_DAYS_BEFORE = "days_before"


class Expression:
    """One parsed expression, ready to be compiled against the columns of a table."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        if len(text) > MAX_LENGTH:
            raise self.problem(f"the expression is longer than {MAX_LENGTH} characters")
        try:
            self.tree: ast.expr = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self.problem("this is not an expression") from error

    def names(self) -> set[str]:
        """Every column it names."""
        functions = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        return {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name) and id(n) not in functions}

    def compile(
        self,
        columns: Any,
        weight: Any = None,
        codesets: Mapping[str, Codeset] | None = None,
        *,
        has_max: bool = False,
    ) -> Any:
        """The Ibis value over the columns of the table `columns`.

        `weight` is what each row counts for in `sum` (1 when None); `codesets` are those of the code items by column.
        `has_max`: the largest, and months of a half-year, may be asked for, which are no sums: not of what is added up
        later.
        Raises Problem CR-062 where the text uses anything else than the language has.
        """
        totals = (*TOTALS, _MAX, _MONTHS) if has_max else TOTALS
        return _Compiler(self, columns, weight, codesets or {}, totals).value(self.tree)

    def problem(self, detail: str) -> Problem:
        """What is wrong with it."""
        return Problem(
            "CR-062",
            f"{detail}: {self.text!r}",
            where=self.where,
            remedy="docs/warehouse.md has the language.",
        )


class _Compiler:
    def __init__(
        self,
        expression: Expression,
        columns: Any,
        weight: Any,
        codesets: Mapping[str, Codeset],
        totals: Sequence[str],
    ) -> None:
        self.expression, self.columns, self.weight, self.codesets = expression, columns, weight, codesets
        self.totals = totals

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return self._column(name)
            case ast.Constant(value=int() | str() as constant) if not isinstance(constant, bool):
                return constant
            case ast.BoolOp(op=op, values=values):
                return self._joined(op, [self.value(part) for part in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                divisor = self.value(right)
                if isinstance(op, ast.FloorDiv) and not isinstance(divisor, int):
                    divisor = divisor.nullif(0)  # nothing over nought is nothing, in every engine
                return _ARITHMETIC[type(op)](self.value(left), divisor)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return ibis.ifelse(self.value(test), self.value(body), self.value(orelse))
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=column)], keywords=[]) if (
                name == _HUNDREDTHS
            ):
                # A decimal is kept as its digits; nothing of it is lost, so every engine finds the same.
                return (self._column(column).cast("decimal(18, 2)") * 100).cast("int64")
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=column)], keywords=[]) if name in _YEARS:
                day = self._column(column)
                if not day.type().is_date():
                    raise self.expression.problem(f"`{column}` is no day")
                return _academic_year(day, _YEARS[name])
            case ast.Call(
                func=ast.Name(id=name),
                args=[ast.Name(id=column), ast.Constant(value=int() as days)],
                keywords=[],
            ) if name == _DAYS_BEFORE and not isinstance(days, bool):
                return self._column(column) - ibis.interval(days=days)
            case ast.Call(func=ast.Name(id=name), args=[start, end, holds], keywords=[]) if (
                name == _MONTHS and name in self.totals
            ):
                return self._months(self.value(start), self.value(end), self.value(holds))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._comparison(left, op, right)
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=column)], keywords=[]) if name == _WHOLE:
                text = self._column(column)
                if not text.type().is_string():
                    raise self.expression.problem(f"`{column}` is no text")
                return _whole(text)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in self.totals:
                return self._total(name, argument)
        raise self.expression.problem(f"the language has no such thing as `{ast.unparse(node)}`")

    def _column(self, name: str) -> Any:
        if name not in self.columns.columns:
            raise self.expression.problem(
                f"there is no `{name}`; there are {', '.join(self.columns.columns)}"
            )
        return self.columns[name]

    def _months(self, start: Any, end: Any, holds: Any) -> Any:
        given = [one.type() if isinstance(one, ibis.Expr) else None for one in (start, end, holds)]
        if not all(kind and kind.is_date() for kind in given[:2]) or not (given[2] and given[2].is_boolean()):
            raise self.expression.problem(f"`{_MONTHS}` is of two days and a condition")
        return half_year.months(self._column("on"), start, end, holds)

    def _joined(self, op: ast.boolop, parts: list[Any]) -> Any:
        joined = parts[0]
        for part in parts[1:]:
            joined = joined & part if isinstance(op, ast.And) else joined | part
        return joined

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Any:
        if isinstance(left, ast.Attribute):
            return self._codes(left, op, right)
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self.expression.problem("`is` goes with `None` only")
            value = self.value(left)
            return value.isnull() if isinstance(op, ast.Is) else value.notnull()
        if isinstance(op, ast.In | ast.NotIn):
            found = self.value(left).isin(self._constants(right))
            return found if isinstance(op, ast.In) else ~found
        return _COMPARE[type(op)](self.value(left), self.value(right))

    def _codes(self, attribute: ast.Attribute, op: ast.cmpop, right: ast.expr) -> Any:
        """`code.category == 'x'`: the column is one of the codes to which the standard gives that attribute."""
        if not isinstance(attribute.value, ast.Name) or attribute.value.id not in self.codesets:
            raise self.expression.problem(f"`{ast.unparse(attribute)}` is no attribute of a code")
        codeset = self.codesets[attribute.value.id]
        if attribute.attr not in codeset.attributes:
            raise self.expression.problem(f"the code set {codeset.name} has no attribute `{attribute.attr}`")
        wanted: list[Any]
        if isinstance(op, ast.Eq) and isinstance(right, ast.Constant):
            wanted = [right.value]
        elif isinstance(op, ast.In):
            wanted = self._constants(right)
        else:
            raise self.expression.problem("an attribute is compared by `==` or `in`")
        codes = [code for value in wanted for code in codeset.with_attribute(attribute.attr, value)]
        if not codes:
            raise self.expression.problem(f"no code of {codeset.name} has that {attribute.attr}")
        return self.columns[attribute.value.id].isin(codes)

    def _constants(self, node: ast.expr) -> list[Any]:
        if not isinstance(node, ast.Tuple) or not all(isinstance(part, ast.Constant) for part in node.elts):
            raise self.expression.problem("`in` goes with a list of values in round brackets")
        return [part.value for part in node.elts if isinstance(part, ast.Constant)]

    def _total(self, name: str, argument: ast.expr) -> Any:
        value = self.value(argument)
        if value.type().is_boolean():
            # Not a cast: some engines refuse to cast a condition.
            value = ibis.ifelse(value, 1, 0)
        elif name == "count":
            raise self.expression.problem("`count` counts where a condition holds; write one")
        number = value.cast("int64")
        if name == _MAX:
            return number.max()
        return (number if self.weight is None else number * self.weight).sum()


def _whole(text: Any) -> Any:
    """A text of digits as a number, nothing for any other: what no engine could cast is taken out before it is."""
    return ibis.ifelse(text.re_search(_DIGITS), text, ibis.null("string")).cast("int64")


def _academic_year(day: Any, further: int) -> Any:
    """The name of the academic year of a day, or of one so much further on."""
    begins = day.year().cast("int64") + ibis.ifelse(day.month() >= _SEPTEMBER, 0, -1) + further
    ends = (begins + 1) % 100 + 100  # of which the last two digits are those of the year
    return begins.cast("string") + "/" + ends.cast("string").substr(1, 2)
