"""Published totals, found again from their parts. Each difference is zero, or it has a reason, or it is a finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pyarrow as pa

from commonroom.engines.duck import Duck
from commonroom.warehouse.published.model import Dataset, Part, Total, Weight

Verdict = Literal["equal", "rounding", "hidden", "explained", "not explained"]
TIME = ("time_period", "time_identifier")


class Check(msgspec.Struct, frozen=True):
    """One published total beside the sum of its parts."""

    indicator: str
    group: dict[str, str]
    published: Decimal
    found: Decimal
    difference: Decimal
    parts: int
    hidden: int  # parts that are symbols
    verdict: Verdict
    because: str


def check(dataset: Dataset, rows: pa.Table, duck: Duck, others: Mapping[str, pa.Table]) -> list[Check]:
    """All declared totals of a file. `others`: tables of the datasets that weights come from, as far as they are here."""
    checks: list[Check] = []
    for total in dataset.totals:
        if total.weighed is None or total.weighed.dataset in others:
            for indicator in total.indicators:
                checks += _one(total, indicator, rows, duck, others)
    return checks


def left_out(dataset: Dataset, others: Mapping[str, pa.Table]) -> list[str]:
    """Datasets without which some totals could not be checked."""
    needed = {total.weighed.dataset for total in dataset.totals if total.weighed is not None}
    return sorted(needed - set(others))


def _one(
    total: Total, indicator: str, rows: pa.Table, duck: Duck, others: Mapping[str, pa.Table]
) -> list[Check]:
    keys = [*TIME, *total.by]
    tables = {"published": rows}
    if total.weighed is not None:
        tables["weights"] = others[total.weighed.dataset]
    sql, parameters = _statement(total, indicator, keys)
    return [_judged(total, indicator, row) for row in duck.query(sql, parameters, tables)]


def _statement(total: Total, indicator: str, keys: Sequence[str]) -> tuple[str, list[str]]:
    names = ", ".join(_name(key) for key in keys)
    of, of_values = _where(total.of)
    parts, parts_values = _where(total.parts)
    figure, mark = _name(indicator), _name(f"{indicator}_symbol")
    weighed = total.weighed
    if weighed is None:
        source, found, weight_values = "published", f"sum({figure})", list[str]()
    else:
        source, weight_values = _weighed(weighed, indicator)
        found = f"sum({figure} * weight) / sum(weight) FILTER ({figure} IS NOT NULL)"
    statement = f"""
    WITH totals AS (
        SELECT {names}, {figure} AS published FROM published WHERE {of} AND {figure} IS NOT NULL
    ), parts AS (
        SELECT {names}, {found} AS found, count({figure}) AS parts, count({mark}) AS hidden
        FROM {source} WHERE {parts} GROUP BY ALL
    )
    SELECT * FROM totals JOIN parts USING ({names}) WHERE found IS NOT NULL ORDER BY ALL
    """  # noqa: S608 - declared names, quoted; values are parameters
    order = [*of_values, *weight_values, *parts_values]
    return statement, order


def _weighed(weighed: Weight, indicator: str) -> tuple[str, list[str]]:
    """The rows beside what each weighs."""
    where, values = _where(Part("School", weighed.when))
    match, weight = _name(weighed.match), _name(weighed.indicator)
    heavy = f"SELECT {match}, {weight} AS weight FROM weights WHERE {where} AND {weight} > 0"  # noqa: S608
    return f"(SELECT * FROM published JOIN ({heavy}) USING ({match}))", values  # noqa: S608


def _where(part: Part) -> tuple[str, list[str]]:
    conditions, values = ["geographic_level = ?"], [part.level]
    for name, wanted in part.when.items():
        conditions.append(f"{_name(name)} IN ({', '.join('?' * len(wanted))})")
        values += wanted
    for name, start in part.starts.items():
        conditions.append(f"starts_with({_name(name)}, ?)")
        values.append(start)
    return " AND ".join(conditions), values


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _judged(total: Total, indicator: str, row: dict[str, Any]) -> Check:
    published, found = Decimal(row["published"]), Decimal(str(row["found"]))
    difference = (published - found).quantize(Decimal("0.001")).normalize() + 0
    verdict, because = _verdict(total, difference, row["parts"], row["hidden"])
    group = {key: row[key] for key in ("time_period", *total.by)}
    return Check(
        indicator,
        dict(_fixed(total.of)) | group,
        published.normalize() + 0,
        found.quantize(Decimal("0.001")).normalize() + 0,
        difference,
        row["parts"],
        row["hidden"],
        verdict,
        because,
    )


def _fixed(part: Part) -> list[tuple[str, str]]:
    return [(name, " or ".join(values)) for name, values in part.when.items()]


def _verdict(total: Total, difference: Decimal, parts: int, hidden: int) -> tuple[Verdict, str]:
    if difference == 0:
        return "equal", ""
    # Each part may be half a step away, and so may the total.
    if total.rounded_to and abs(difference) <= Decimal(total.rounded_to) / 2 * (parts + 1):
        return "rounding", f"{parts:,} parts rounded to {total.rounded_to}"
    if hidden and difference > 0 and total.weighed is None:
        return "hidden", f"{hidden:,} parts are hidden and hold the rest"
    if total.within and abs(difference) <= Decimal(str(total.within)):
        return "explained", total.because
    return "not explained", ""
