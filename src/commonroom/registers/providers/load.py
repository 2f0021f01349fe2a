"""Loading one register file into the database, in one transaction: all of it or nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date
from pathlib import Path
from typing import Any

import msgspec

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.registers.providers.links import Linked, day, write_links, write_members
from commonroom.registers.providers.organisations import Incoming, Written, lock, write
from commonroom.registers.providers.parse import Facts, Issue, Parsed, Progress, Row
from commonroom.registers.providers.shapes import Kind, lists
from commonroom.registers.providers.sources import read_file


class LoadReport(msgspec.Struct, frozen=True):
    """What a file was and what loading it did.

    `rows` are the records in the file, `loaded` those taken, `refused` the rest; `loaded` = new + changed + unchanged,
    of which `late` were older than what was known. `absent` organisations or links are in the register and not in the
    file; they were left as they are, or for a file that is said to be complete `ended`.
    `already` says that this very file had been loaded before: nothing was written.
    """

    file: str
    kind: Kind
    encoding: str
    file_date: date
    rows: int
    loaded: int
    refused: int
    new: int
    changed: int
    unchanged: int
    late: int
    absent: int
    issue_count: int
    issues: list[Issue]
    schools: int
    pupils: int
    authorities: int
    groups: int
    links: int
    seconds: float
    load: int
    already: bool = False
    ended: int = 0
    providers: int = 0


_KNOWN_FILE = (
    "SELECT id, report FROM providers.load WHERE digest = $1 AND report IS NOT NULL ORDER BY id DESC LIMIT 1"
)

_ADD_LOAD = """
INSERT INTO providers.load (file, digest, kind, encoding, file_date, recorded_at, issue_count)
VALUES ($1, $2, $3, $4, $5, engines.domain_now(), $6)
RETURNING id
"""

_FINISH_LOAD = "UPDATE providers.load SET report = $2 WHERE id = $1"

_ISSUE_COLUMNS = ("load", "number", "line", "record", "item", "effect", "reason", "remedy")

_ISSUES = """
SELECT line, record, item, effect, reason, remedy FROM providers.load_issue WHERE load = $1 ORDER BY number
"""

_COUNT_OF_SCHEME = "SELECT count(*) FROM providers.organisation WHERE scheme = $1"

_VERIFIED = "SELECT value FROM providers.organisation WHERE scheme = 'ukprn' AND facts ? 'ukrlp_status'"

# LA codes that GIAS gives to establishments under no authority.
NO_AUTHORITY = frozenset({"000", "001"})
_LA_ITEMS = frozenset({"la_code", "name", "la_name", "gss_code", "region_code", "region_name"})
_MEMBER_ITEMS = frozenset({"urn", "joined"})


async def load_file(
    conn: Any,
    path: Path,
    *,
    as_of: date | None = None,
    again: bool = False,
    complete: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Load an extract of any known kind, or do nothing when this very file was loaded before (unless `again`).

    `as_of` is the day of the extract; by default the date in the file's name, else today by the domain clock.
    `complete` says of links, group links and groups' members that whatever the file does not have has ended.
    `progress` is called from another thread with the number of records read. Raises Problem CR-080 to CR-082 when the
    file as a whole cannot be used; bad rows and values are in the report and in `providers.load_issue`.
    """
    began = time.perf_counter()
    parsed = await asyncio.to_thread(read_file, path, progress=progress)
    async with conn.transaction():
        await lock(conn)
        known = await conn.fetchrow(_KNOWN_FILE, parsed.digest)
        if known and not again:
            return await _report_again(conn, known, time.perf_counter() - began)
        return await _load(conn, parsed, as_of, complete, began)


async def issues_of(conn: Any, load: int) -> list[Issue]:
    """The faults listed when a file was loaded, in the order of its lines."""
    return [Issue(**row) for row in await conn.fetch(_ISSUES, load)]


async def newest_load(conn: Any) -> int:
    """The number of the last load, 0 when there was none."""
    found: int | None = await conn.fetchval("SELECT max(id) FROM providers.load")
    return found or 0


async def _load(conn: Any, parsed: Parsed, as_of: date | None, complete: bool, began: float) -> LoadReport:
    _require_whole(parsed, complete)
    file_date = as_of or parsed.file_date or (await clock.now(conn)).astimezone(UTC).date()
    load = await conn.fetchval(
        _ADD_LOAD, parsed.name, parsed.digest, parsed.kind, parsed.encoding, file_date, parsed.issue_count
    )
    await _keep_issues(conn, load, parsed.issues)
    linked = await _write(conn, parsed, file_date, load, complete)
    report = _report(parsed, file_date, load, linked, time.perf_counter() - began)
    await conn.execute(_FINISH_LOAD, load, msgspec.to_builtins(msgspec.structs.replace(report, issues=[])))
    return report


def _require_whole(parsed: Parsed, complete: bool) -> None:
    """What is missing from a file has ended only when every row of it could be read."""
    if complete and parsed.kind not in ("links", "group_links"):
        detail, remedy = "only files of links can be said to be complete", "Leave --complete out."
    elif complete and parsed.records > len(parsed.rows):
        detail, remedy = (
            "rows of the file were refused, so nobody knows what is missing",
            "Correct them first.",
        )
    else:
        return
    raise Problem("CR-080", f"{detail}.", where=parsed.name, remedy=remedy)


async def _write(conn: Any, parsed: Parsed, file_date: date, load: int, complete: bool) -> Linked:
    if parsed.kind == "links":
        return await write_links(conn, parsed, file_date, load, complete=complete)
    if parsed.kind == "group_links":
        # The groups that the rows repeat, then who joined them.
        items = set(parsed.items) - _MEMBER_ITEMS
        await write(conn, "group", _groups(parsed, file_date), items=items, seen=file_date, load=load)
        return await write_members(conn, parsed, file_date, load, complete=complete)
    write_kind = {
        "establishments": _write_establishments,
        "nations": _write_nations,
        "providers": _write_providers,
        "ukrlp": _write_providers,
        "groups": _write_groups,
    }[parsed.kind]
    written, absent = await write_kind(conn, parsed, file_date, load)
    return Linked(written, absent, 0)


async def _write_establishments(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    """Authorities first, so that a school's authority is always there; then the schools."""
    await write(conn, "la", _authorities(parsed, file_date), items=_LA_ITEMS, seen=file_date, load=load)
    kept = [item for item in parsed.items if item != "last_changed"]
    schools = _incoming(parsed.rows, "urn", file_date)
    written = await write(conn, "urn", schools, items=kept, seen=file_date, load=load)
    return written, await conn.fetchval(_COUNT_OF_SCHEME, "urn") - len(parsed.rows)


async def _write_groups(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    written = await write(
        conn, "group", _groups(parsed, file_date), items=parsed.items, seen=file_date, load=load
    )
    return written, await conn.fetchval(_COUNT_OF_SCHEME, "group") - len(parsed.rows)


async def _write_nations(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    """Authorities first, as in England; each nation's schools have a scheme of their own."""
    await write(conn, "la", _authorities(parsed, file_date), items=_LA_ITEMS, seen=file_date, load=load)
    kept = [item for item in parsed.items if item != "last_changed"]
    written, absent = Written(0, 0, 0, 0), 0
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in parsed.rows:
        rows_of[scheme_of_nation(str(row.facts["nation"]))].append(row)
    for scheme, rows in rows_of.items():
        incoming = _incoming(rows, "school_number", file_date)
        written = _sum(written, await write(conn, scheme, incoming, items=kept, seen=file_date, load=load))
        absent += await conn.fetchval(_COUNT_OF_SCHEME, scheme) - len(rows)
    return written, absent


async def _write_providers(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    """By UKPRN. The name that UKRLP has verified stands against those of other lists."""
    verified: set[str] = set()
    if parsed.kind == "providers":
        verified = {row["value"] for row in await conn.fetch(_VERIFIED)}
    plain = [row for row in parsed.rows if row.facts["ukprn"] not in verified]
    named = [row for row in parsed.rows if row.facts["ukprn"] in verified]
    rest = [item for item in parsed.items if item != "name"]
    written = await write(
        conn, "ukprn", _providers(plain, file_date), items=parsed.items, seen=file_date, load=load
    )
    if named:
        incoming = _providers(named, file_date, without="name")
        written = _sum(written, await write(conn, "ukprn", incoming, items=rest, seen=file_date, load=load))
    return written, await conn.fetchval(_COUNT_OF_SCHEME, "ukprn") - len(parsed.rows)


def scheme_of_nation(nation: str) -> str:
    """The scheme of a nation's school numbers: wales, scotland, northern-ireland."""
    return nation.lower().replace(" ", "-")


def _sum(one: Written, other: Written) -> Written:
    pairs = zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    return Written(*(first + second for first, second in pairs))


def _providers(rows: Sequence[Row], file_date: date, without: str = "") -> Iterator[Incoming]:
    """One organisation a UKPRN, valid from the day of the file: the records have no day of their own."""
    for row in rows:
        facts = {name: value for name, value in row.facts.items() if name != without}
        yield Incoming(str(facts["ukprn"]), "provider", file_date, facts, row.line)


def _incoming(rows: Sequence[Row], key: str, file_date: date) -> Iterator[Incoming]:
    """One organisation a row. When a row says it was last changed is a better day than the file's, unless later."""
    for row in rows:
        changed = day(row.facts, "last_changed")
        valid_from = changed if changed and changed <= file_date else file_date
        facts = {name: value for name, value in row.facts.items() if name != "last_changed"}
        yield Incoming(str(facts[key]), "school", valid_from, facts, row.line)


def _authorities(parsed: Parsed, file_date: date) -> Iterator[Incoming]:
    """The authorities that the rows name: the name, ONS code and region that most rows of each give."""
    rows_of: dict[str, list[Facts]] = defaultdict(list)
    for row in parsed.rows:
        rows_of[str(row.facts["la_code"])].append(row.facts)
    for code in sorted(rows_of.keys() - NO_AUTHORITY):
        facts: Facts = {"la_code": code}
        names = {
            "name": "la_name",
            "gss_code": "la_gss_code",
            "region_code": "region_code",
            "region_name": "region_name",
        }
        for item, source in names.items():
            found = Counter(facts[source] for facts in rows_of[code] if source in facts).most_common(1)
            if found:
                facts[item] = found[0][0]
        if not code.isdigit():
            facts["gss_code"] = code
        facts.setdefault("name", f"Local authority {code}")
        facts["la_name"] = facts["name"]
        yield Incoming(code, "local_authority", file_date, facts)


def _groups(parsed: Parsed, file_date: date) -> Iterator[Incoming]:
    """One organisation a group; a file of group links repeats a group in the rows of its members."""
    seen: set[str] = set()
    for row in parsed.rows:
        uid = str(row.facts["group_uid"])
        if uid not in seen:
            seen.add(uid)
            kind = "trust" if row.facts.get("group_type") in lists().academy_trusts else "group"
            facts = {name: value for name, value in row.facts.items() if name not in _MEMBER_ITEMS}
            yield Incoming(uid, kind, file_date, facts, row.line)


async def _keep_issues(conn: Any, load: int, issues: tuple[Issue, ...]) -> None:
    records = (
        (load, number, *msgspec.structs.astuple(issue)) for number, issue in enumerate(issues, start=1)
    )
    await conn.copy_records_to_table(
        "load_issue", schema_name="providers", records=records, columns=_ISSUE_COLUMNS
    )


def _report(parsed: Parsed, file_date: date, load: int, linked: Linked, seconds: float) -> LoadReport:
    facts = [row.facts for row in parsed.rows]
    is_schools, loaded, written = parsed.kind in ("establishments", "nations"), len(facts), linked.written
    authorities = {row["la_code"] for row in facts} - NO_AUTHORITY if is_schools else set()
    return LoadReport(
        file=parsed.name,
        kind=parsed.kind,
        encoding=parsed.encoding,
        file_date=file_date,
        rows=parsed.records,
        loaded=loaded,
        refused=parsed.records - loaded,
        new=written.new,
        changed=written.changed,
        unchanged=written.unchanged,
        late=written.late,
        absent=linked.absent,
        ended=linked.ended,
        providers=loaded if parsed.kind in ("providers", "ukrlp") else 0,
        issue_count=parsed.issue_count,
        issues=list(parsed.issues),
        schools=loaded if is_schools else 0,
        pupils=sum(int(str(row.get("pupils", 0))) for row in facts) if is_schools else 0,
        authorities=len(authorities),
        groups=len({row["group_uid"] for row in facts if "group_uid" in row}),
        links=loaded if parsed.kind in ("links", "group_links") else 0,
        seconds=round(seconds, 3),
        load=load,
    )


async def _report_again(conn: Any, known: Any, seconds: float) -> LoadReport:
    """The report of the first load of the same file, with nothing new in it."""
    report = msgspec.convert(known["report"], LoadReport)
    return msgspec.structs.replace(
        report,
        new=0,
        changed=0,
        unchanged=report.loaded,
        late=0,
        issues=await issues_of(conn, known["id"]),
        seconds=round(seconds, 3),
        already=True,
    )
