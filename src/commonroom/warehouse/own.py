"""Measures of an organisation's own: declared as the published ones are, and kept under their owner.

Nobody else sees them (policy `warehouse.measures`). Whose facts they count says `own_facts`; `own_figures` has the figures.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from commonroom import access, declarations
from commonroom.engines import clock
from commonroom.identity import Principal
from commonroom.problems import Problem, add_codes
from commonroom.warehouse import combinations, measures
from commonroom.warehouse.model import Measure

add_codes(
    {"CR-286": "The measure of your own cannot be used", "CR-287": "You have no such measure of your own"}
)

DATASET = "warehouse.measures"
MAX_TEXT = 16_384
MAX_EACH = 20
MAX_DEPTH = 20
MAX_MEASURES = 100
MAX_DECIMALS, MAX_SIZE = 6, 1_000_000
MAX_TITLE, MAX_MEANING = 200, 2_000
MAX_DAYS_NEAR = 366
# Each slot is a query around the one before: of very many no compiler makes an end.
MAX_SLOTS, MAX_PLACES = 8, 20
EXAMPLES = Path(__file__).parent / "own_examples"
_PATH = Path("own measure.yaml")
# What an own measure may say; the rest binds published ones to each other. (`elsewhere` is refused with its own reason.)
_FOR_OWN = frozenset(
    (
        "name", "title", "meaning", "source", "entity", "taken", "unit", "each", "numerator", "shown_as", "levels",
        "grains", "suppression", "population", "denominator", "decimals", "scale", "times", "within", "place", "beside",
        "each_beside", "best", "elsewhere", "adds_up_over_time", "benchmark", "has_ended",
    )
)  # fmt: skip
_NOT_FOR_OWN = {one.name: one.default for one in msgspec.structs.fields(Measure) if one.name not in _FOR_OWN}
_NAME = re.compile(r"[a-z][a-z0-9_]{2,40}")

_INSERT = """
INSERT INTO warehouse.own_measure (owner, name, declaration, defined_at)
SELECT $1, $2, $3, $4
WHERE (SELECT count(*) FROM warehouse.own_measure WHERE owner = $1 AND name <> $2) < $5
ON CONFLICT (owner, name) DO UPDATE SET declaration = excluded.declaration, defined_at = excluded.defined_at
RETURNING name
"""

# Two definitions at the same moment would each see the room for one.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('warehouse.own_measure ' || $1, 0))"


@cache
def examples() -> dict[str, str]:
    """Declarations to start from, by name."""
    return {path.stem: path.read_text("utf-8") for path in sorted(EXAMPLES.glob("*.yaml"))}


@cache
def titles_of_examples() -> dict[str, str]:
    """What the examples are called, by name; each is proved by it."""
    return {name: declared(text).title for name, text in examples().items()}


class Own(msgspec.Struct, frozen=True):
    """One measure of an organisation's own."""

    owner: str
    measure: Measure
    defined_at: datetime
    text: str = ""  # as it was written


class Unusable(msgspec.Struct, frozen=True):
    """One that was kept and that this version cannot read any more: there to be corrected or deleted."""

    name: str
    fault: Problem
    defined_at: datetime
    text: str


def declared(text: str, path: Path = _PATH) -> Measure:
    """A measure of one's own from its YAML, proved; faults are told under `path`. Raises CR-001, CR-062 or CR-286."""
    if len(text) > MAX_TEXT:
        raise _fault(f"it is longer than {MAX_TEXT} characters")
    try:
        return _proved(text, path)
    except Problem as problem:
        if problem.code == "CR-062":  # proved under the name that its file would have
            raise Problem(problem.code, problem.detail, where=str(path), remedy=problem.remedy) from problem
        raise
    except Exception as error:
        # Anybody's text goes through a YAML reader, a parser and a compiler, each with its own way to say that it is too
        # deep, too large or names one thing twice: whatever they raise is about the text.
        raise _fault(
            "it cannot be read or compiled: it is too deep, too large or names one thing twice"
        ) from error


def _proved(text: str, path: Path) -> Measure:
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
    measure = declarations.parse(text, Measure, path)
    if not _NAME.fullmatch(measure.name):
        raise _fault("its name is small letters, digits and underscores, three to forty-one of them")
    if measure.name in measures.load() or measure.name in combinations.load():
        raise _fault("a published measure has that name")
    if measure.elsewhere:
        raise _fault(
            "`elsewhere` would link what other bodies say of your pupils, which is for published measures"
        )
    others = [name for name, usual in _NOT_FOR_OWN.items() if getattr(measure, name) != usual]
    if others:
        raise _fault(f"`{others[0]}` is for published measures")
    if not (
        0 <= measure.decimals <= MAX_DECIMALS
        and 1 <= measure.scale <= MAX_SIZE
        and 1 <= measure.times <= MAX_SIZE
    ):
        raise _fault(f"`decimals` is 0 to {MAX_DECIMALS}, `scale` and `times` are 1 to {MAX_SIZE}")
    if measure.levels not in (("school",), ("authority",)):
        raise _fault("`levels` is [school], or [authority] for records that an authority holds of no school")
    if len(measure.each) + len(measure.each_beside) > MAX_EACH:
        raise _fault(f"it is of at most {MAX_EACH} things that are known of a unit")
    _check_sizes(measure)
    if measure.benchmark is not None:
        try:
            beside = combinations.measure(measure.benchmark)
        except Problem as problem:
            raise Problem(
                problem.code,
                f"`benchmark`: {problem.detail}",
                status=422,
                where=str(path),
                remedy=problem.remedy,
            ) from problem
        if not set(measure.grains) <= set(beside.grains):
            raise _fault(f"`benchmark`: {beside.name} has not all its grains")
    measures.check(measure, Path(f"{measure.name}.yaml"))
    if measures.is_of_authorities(measure) != (measure.levels == ("authority",)):
        raise _fault(
            "`levels` is [school] where `place` names a school, [authority] where it names an authority"
        )
    return measure


def _check_sizes(measure: Measure) -> None:
    """What published measures have because we write them, and others' only when somebody looks."""
    for name, most in (("title", MAX_TITLE), ("meaning", MAX_MEANING), ("source", MAX_TITLE)):
        text = getattr(measure, name)
        if not text.strip() or len(text) > most or not text.replace("\n", "").isprintable():
            raise _fault(f"`{name}` is 1 to {most:,} characters that can be printed")
    if not measure.grains or len(set(measure.grains)) < len(measure.grains):
        raise _fault("`grains` names at least one, each once")
    if measure.within is not None and not 1 <= measure.within.days <= MAX_DAYS_NEAR:
        raise _fault(f"`within` is of 1 to {MAX_DAYS_NEAR} days")
    slots = measure.best.slots.values() if measure.best is not None else ()
    if len(slots) > MAX_SLOTS or any(slot.places > MAX_PLACES for slot in slots):
        raise _fault(f"`best` has at most {MAX_SLOTS} slots, each of at most {MAX_PLACES} places")


async def define(connection: Any, principal: Principal, text: str, path: Path = _PATH) -> Own:
    """Keep a measure for the asker's organisation, in the place of one of that name. Raises CR-111 beside `declared`'s."""
    access.rows(principal, DATASET, "postgres")
    measure = await asyncio.to_thread(declared, text, path)  # a compiler's work
    now = await clock.now(connection)
    async with connection.transaction():
        await connection.execute(_LOCK, str(principal.party))
        kept = await connection.fetchval(_INSERT, principal.party, measure.name, text, now, MAX_MEASURES)
    if kept is None:
        raise _fault(f"you have {MAX_MEASURES} already")
    return Own(str(principal.party), measure, now, text)


async def known(connection: Any, principal: Principal) -> list[Own]:
    """The measures of the asker's organisation, by name. Raises Problem CR-111."""
    return [one for one in await _all(connection, principal) if isinstance(one, Own)]


async def unusable(connection: Any, principal: Principal) -> list[Unusable]:
    """Those that cannot be read any more, by name. Raises Problem CR-111."""
    return [one for one in await _all(connection, principal) if isinstance(one, Unusable)]


async def _all(connection: Any, principal: Principal) -> list[Own | Unusable]:
    scope = access.rows(principal, DATASET, "postgres")
    found = await connection.fetch(
        f"SELECT * FROM warehouse.own_measure WHERE {scope.sql} ORDER BY name",  # noqa: S608 - the policy
        *scope.params,
    )
    return await asyncio.to_thread(lambda: [_read(row) for row in found])


async def kept(connection: Any, principal: Principal, name: str) -> Own | Unusable:
    """The measure of that name of the asker's organisation, also one to correct. Raises Problem CR-287 or CR-111."""
    scope = access.rows(principal, DATASET, "postgres", first_parameter=2)
    if not _NAME.fullmatch(name):  # which the database need not be able to read
        raise _none()
    row = await connection.fetchrow(
        f"SELECT * FROM warehouse.own_measure WHERE name = $1 AND {scope.sql}",  # noqa: S608 - the policy
        name,
        *scope.params,
    )
    if row is None:
        raise _none()
    return _read(row)


async def named(connection: Any, principal: Principal, name: str) -> Own:
    """The same to work with. Raises Problem CR-001 or CR-286 beside, for one that cannot be read any more."""
    found = await kept(connection, principal, name)
    if isinstance(found, Unusable):
        raise found.fault
    return found


def _read(row: Any) -> Own | Unusable:
    # Proved when it was defined; a published measure may have got the name since, and an upgrade may read otherwise.
    try:
        measure = declarations.parse(row["declaration"], Measure, _PATH)
        _check_benchmark(measure)
    except Problem as fault:
        return Unusable(row["name"], fault, row["defined_at"], row["declaration"])
    return Own(row["owner"], measure, row["defined_at"], row["declaration"])


def _check_benchmark(measure: Measure) -> None:
    if measure.benchmark is None:
        return
    try:
        combinations.measure(measure.benchmark)
    except Problem as problem:
        raise _fault(f"its benchmark {measure.benchmark[:80]!r} is published no more") from problem


async def delete(connection: Any, principal: Principal, name: str) -> None:
    """Forget a measure of the asker's organisation. Raises Problem CR-287 or CR-111."""
    scope = access.rows(principal, DATASET, "postgres", first_parameter=2)
    if not _NAME.fullmatch(name):  # which the database need not be able to read
        raise _none()
    gone = await connection.fetchval(
        f"DELETE FROM warehouse.own_measure WHERE name = $1 AND {scope.sql} RETURNING name",  # noqa: S608 - the policy
        name,
        *scope.params,
    )
    if gone is None:
        raise _none()


def _none() -> Problem:
    remedy = "See `commonroom measure list`, or the page of your own measures."
    return Problem("CR-287", "there is none of that name", status=404, remedy=remedy)


def _fault(detail: str) -> Problem:
    return Problem("CR-286", detail, status=422, remedy="docs/warehouse.md shows a measure of one's own.")
