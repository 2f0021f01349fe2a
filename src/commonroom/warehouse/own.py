"""Measures of an organisation's own: declared as the published ones are, kept under their owner, run over the owner's facts.

They read what the policy of `warehouse.facts` grants the asker (what the organisation sent itself) and nothing of anybody
else: over the facts of others, measures of one's own would tell of single pupils by the difference of two. What stands
beside them is a published figure, with what is hidden in it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import ibis
import msgspec
import pyarrow as pa
import yaml

from commonroom import access, declarations
from commonroom.access import Scope
from commonroom.engines import clock, delta
from commonroom.engines.duck import Duck
from commonroom.identity import Principal
from commonroom.problems import Problem, add_codes
from commonroom.settings import Settings
from commonroom.warehouse import (
    combinations,
    compilation,
    disclosure,
    heads,
    measures,
    organisations,
    periods,
    tables,
)
from commonroom.warehouse.compilation import MEMBERS, PERIODS
from commonroom.warehouse.heads import Head
from commonroom.warehouse.history import DATASET as FACTS
from commonroom.warehouse.model import Grain, Measure
from commonroom.warehouse.publication import Parts
from commonroom.warehouse.spans import period_rows, time_of

add_codes(
    {"CR-286": "The measure of your own cannot be used", "CR-287": "You have no such measure of your own"}
)

DATASET = "warehouse.measures"
MAX_TEXT = 16_384
MAX_EACH = 20
MAX_DEPTH = 20
MAX_MEASURES = 100
MAX_DAYS = 800
MAX_DECIMALS, MAX_SIZE = 6, 1_000_000
_PATH = Path("own measure.yaml")
_NAME = re.compile(r"[a-z][a-z0-9_]{2,40}")

_INSERT = """
INSERT INTO warehouse.own_measure (owner, name, declaration, defined_at)
SELECT $1, $2, $3, $4
WHERE (SELECT count(*) FROM warehouse.own_measure WHERE owner = $1 AND name <> $2) < $5
ON CONFLICT (owner, name) DO UPDATE SET declaration = excluded.declaration, defined_at = excluded.defined_at
RETURNING name
"""


class Own(msgspec.Struct, frozen=True):
    """One measure of an organisation's own."""

    owner: str
    measure: Measure
    defined_at: datetime


class OwnFigure(msgspec.Struct, frozen=True):
    """One figure of one's own facts: nothing in it is hidden from who sent them."""

    measure: str
    unit: str  # URN
    unit_name: str
    grain: str
    period_start: date
    period_label: str
    numerator: int
    denominator: int | None
    value: Decimal | None


def declared(text: str) -> Measure:
    """A measure of one's own from its YAML, proved. Raises Problem CR-001, CR-062 or CR-286."""
    if len(text) > MAX_TEXT:
        raise _fault(f"it is longer than {MAX_TEXT} characters")
    try:
        return _proved(text)
    except Problem:
        raise
    except Exception as error:
        # Anybody's text goes through a YAML reader, a parser and a compiler, each with its own way to say that it is too
        # deep, too large or names one thing twice: whatever they raise is about the text.
        raise _fault(
            "it cannot be read or compiled: it is too deep, too large or names one thing twice"
        ) from error


def _proved(text: str) -> Measure:
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise _fault("it refers to parts of itself")
            if depth > MAX_DEPTH:  # read event by event: what is deep takes the square of its depth
                raise _fault(f"it is more than {MAX_DEPTH} levels deep")
    except yaml.YAMLError:
        pass  # said better below, with its line
    measure = declarations.parse(text, Measure, _PATH)
    if not _NAME.fullmatch(measure.name):
        raise _fault("its name is small letters, digits and underscores, three to forty-one of them")
    if measure.name in measures.load() or measure.name in combinations.load():
        raise _fault("a published measure has that name")
    if measure.sum_of or measure.base or measure.bounded_by or measure.by:
        raise _fault("`sum_of`, `base`, `bounded_by` and `by` are for published measures")
    if not (
        0 <= measure.decimals <= MAX_DECIMALS
        and 1 <= measure.scale <= MAX_SIZE
        and 1 <= measure.times <= MAX_SIZE
    ):
        raise _fault(f"`decimals` is 0 to {MAX_DECIMALS}, `scale` and `times` are 1 to {MAX_SIZE}")
    if measure.levels != ("school",) or len(measure.each) + len(measure.each_beside) > MAX_EACH:
        raise _fault(f"it is by school, and of at most {MAX_EACH} things that are known of a unit")
    if measure.benchmark is not None:
        beside = combinations.measure(measure.benchmark)
        if not set(measure.grains) <= set(beside.grains):
            raise _fault(f"{beside.name} has not all its grains")
    measures.check(measure, Path(f"{measure.name}.yaml"))
    return measure


async def define(connection: Any, principal: Principal, text: str) -> Own:
    """Keep a measure for the asker's organisation, in the place of one of that name. Raises CR-111 beside `declared`'s."""
    access.rows(principal, DATASET, "postgres")
    measure = declared(text)
    now = await clock.now(connection)
    kept = await connection.fetchval(_INSERT, principal.party, measure.name, text, now, MAX_MEASURES)
    if kept is None:
        raise _fault(f"you have {MAX_MEASURES} already")
    return Own(str(principal.party), measure, now)


async def known(connection: Any, principal: Principal) -> list[Own]:
    """The measures of the asker's organisation, by name. Raises Problem CR-111."""
    scope = access.rows(principal, DATASET, "postgres")
    found = await connection.fetch(
        f"SELECT * FROM warehouse.own_measure WHERE {scope.sql} ORDER BY name",  # noqa: S608 - the policy
        *scope.params,
    )
    # Proved when they were defined; a published measure may have got the name since.
    return [
        Own(row["owner"], declarations.parse(row["declaration"], Measure, _PATH), row["defined_at"])
        for row in found
    ]


async def figures(
    settings: Settings, duck: Duck, connection: Any, principal: Principal, name: str, *,
    grain: str, first: date, last: date, known_at: datetime | None = None, purpose: str = "own measure",
) -> list[OwnFigure]:  # fmt: skip
    """The figures of a measure of one's own, by school and period, of the facts that the asker may look back on.

    Raises Problem CR-287 (no such measure), CR-063 (not by that grain, or too many days), CR-111 (not granted), CR-092.
    """
    own = next((one for one in await known(connection, principal) if one.measure.name == name), None)
    if own is None:
        raise Problem(
            "CR-287", "there is none of that name", status=404, remedy="See `commonroom measure list`."
        )
    wanted_grain = next((one for one in get_args(Grain) if one == grain and one in own.measure.grains), None)
    if wanted_grain is None or (last - first).days > MAX_DAYS:
        remedy = f"Ask for {', '.join(own.measure.grains)}, of at most {MAX_DAYS} days."
        raise Problem("CR-063", "the measure is not made so", status=404, remedy=remedy)
    scope = access.rows(principal, FACTS, "duckdb")
    head = await heads.newest(connection)
    today = clock.day_of(known_at or await clock.now(connection))
    wanted = periods.between(wanted_grain, first, last, today)
    moment = known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None
    found = (
        await asyncio.to_thread(_computed, settings, duck, own.measure, scope, head, wanted, moment)
        if wanted
        else []
    )
    await access.audit(connection, principal, FACTS, purpose, len(found))
    return found


def _computed(
    settings: Settings, duck: Duck, measure: Measure, scope: Scope, head: Head,
    wanted: Sequence[periods.Period], known_at: datetime | None,
) -> list[OwnFigure]:  # fmt: skip
    last = max(period.last_school_day for period in wanted)
    schools = organisations.schools(settings, duck, head, last, known_at)
    relations, values = [], []
    for name, entity in compilation.entities_of(measure).items():
        columns = compilation.columns_of(measure, entity)
        facts = _facts(settings, head, entity, columns, max(period.end for period in wanted), known_at)
        relations.append(f"{name} AS (SELECT {', '.join(columns)} FROM ({facts}) AS sent WHERE {scope.sql})")  # noqa: S608
        values += scope.params
    compiled = ibis.to_sql(compilation.expression(measure), dialect="duckdb")
    names = pa.array(sorted(schools), pa.string())
    rows = duck.query(
        f"WITH {', '.join(relations)}, figures AS ({compiled}) SELECT * FROM figures",  # noqa: S608 - compiled
        values,
        {PERIODS: period_rows(measure, wanted), MEMBERS: pa.table({"school": names, "member": names})},
    )
    by_cell = {(row["member"], row["period"]): row for row in rows}
    found = []
    for urn, school in sorted(schools.items()):
        for period in wanted:
            row = by_cell.get((urn, time_of(measure, period)))
            if row is not None:
                parts = Parts(row["numerator"] or 0, row.get("denominator"), row["units"])
                value = (
                    None
                    if parts.denominator == 0
                    else disclosure.rounded(measure, parts.numerator, parts.denominator)
                )
                found.append(
                    OwnFigure(
                        measure.name,
                        urn,
                        school.name,
                        period.grain,
                        period.start,
                        period.label,
                        parts.numerator,
                        parts.denominator,
                        value,
                    )
                )
    return found


def _facts(
    settings: Settings, head: Head, entity: str, columns: Sequence[str], last: date, known_at: datetime | None
) -> str:
    table, version = tables.of(entity), head.tables.get(entity)
    files = [] if version is None else [file.path for file in delta.files_of(table.folder(settings), version)]
    where = f"valid_from <= DATE '{last}'{organisations.known(known_at)}"
    return table.relation(files, [*columns, "sender"], where)


def _fault(detail: str) -> Problem:
    return Problem("CR-286", detail, status=422, remedy="docs/warehouse.md shows a measure of one's own.")
