"""Loading one register file into the database, in one transaction: all of it or nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date
from pathlib import Path
from typing import Any

import msgspec

from commonroom.engines import clock
from commonroom.registers.providers.organisations import Incoming, Written, lock, write
from commonroom.registers.providers.parse import Facts, Issue, Parsed, Progress, read_file
from commonroom.registers.providers.shapes import Kind, lists

NOTHING_WRITTEN = Written(0, 0, 0, 0)


class LoadReport(msgspec.Struct, frozen=True):
    """What a file was and what loading it did.

    `rows` are the records in the file, `loaded` those taken, `refused` the rest; `loaded` = new + changed + unchanged,
    of which `late` were older than what was known. `absent` organisations or links are in the register and not in the
    file; they were left as they are. `already` says that this very file had been loaded before: nothing was written.
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

_MAKE_INCOMING_LINKS = """
CREATE TEMP TABLE incoming_link (urn text, link_urn text, link_type text, link_name text, established date)
ON COMMIT DROP
"""

_WRITE_LINKS = """
INSERT INTO providers.link AS l (urn, link_urn, link_type, link_name, established, load, recorded_at)
SELECT urn, link_urn, link_type, link_name, established, $1, engines.domain_now()
FROM incoming_link
ON CONFLICT (urn, link_urn, link_type) DO UPDATE
SET link_name = excluded.link_name, established = excluded.established, load = excluded.load,
    recorded_at = excluded.recorded_at
WHERE (l.link_name, l.established) IS DISTINCT FROM (excluded.link_name, excluded.established)
RETURNING xmax = 0 AS is_new
"""

_MAKE_INCOMING_MEMBERS = (
    "CREATE TEMP TABLE incoming_member (urn text, group_uid text, joined date) ON COMMIT DROP"
)

_WRITE_MEMBERS = """
INSERT INTO providers.membership AS m (urn, group_uid, joined, load, recorded_at)
SELECT urn, group_uid, joined, $1, engines.domain_now()
FROM incoming_member
ON CONFLICT (urn, group_uid) DO UPDATE
SET joined = excluded.joined, load = excluded.load, recorded_at = excluded.recorded_at
WHERE m.joined IS DISTINCT FROM excluded.joined
RETURNING xmax = 0 AS is_new
"""

# LA codes that GIAS gives to establishments under no authority.
NO_AUTHORITY = frozenset({"000", "001"})
_MEMBER_ITEMS = frozenset({"urn", "joined"})


async def load_file(
    conn: Any,
    path: Path,
    *,
    as_of: date | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Load an extract of any known kind, or do nothing when this very file was loaded before (unless `again`).

    `as_of` is the day of the extract; by default the date in the file's name, else today by the domain clock.
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
        return await _load(conn, parsed, as_of, began)


async def issues_of(conn: Any, load: int) -> list[Issue]:
    """The faults listed when a file was loaded, in the order of its lines."""
    return [Issue(**row) for row in await conn.fetch(_ISSUES, load)]


async def newest_load(conn: Any) -> int:
    """The number of the last load, 0 when there was none."""
    found: int | None = await conn.fetchval("SELECT max(id) FROM providers.load")
    return found or 0


async def _load(conn: Any, parsed: Parsed, as_of: date | None, began: float) -> LoadReport:
    file_date = as_of or parsed.file_date or (await clock.now(conn)).astimezone(UTC).date()
    load = await conn.fetchval(
        _ADD_LOAD, parsed.name, parsed.digest, parsed.kind, parsed.encoding, file_date, parsed.issue_count
    )
    await _keep_issues(conn, load, parsed.issues)
    write_kind = {
        "establishments": _write_establishments,
        "groups": _write_groups,
        "group_links": _write_group_links,
        "links": _write_links,
    }[parsed.kind]
    written, absent = await write_kind(conn, parsed, file_date, load)
    report = _report(parsed, file_date, load, written, absent, time.perf_counter() - began)
    await conn.execute(_FINISH_LOAD, load, msgspec.to_builtins(msgspec.structs.replace(report, issues=[])))
    return report


async def _write_establishments(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    """Authorities first, so that a school's authority is always there; then the schools."""
    items = {"la_code", "name", "la_name", "gss_code", "region_code", "region_name"}
    await write(conn, "la", _authorities(parsed, file_date), items=items, seen=file_date, load=load)
    kept = [item for item in parsed.items if item != "last_changed"]
    written = await write(conn, "urn", _schools(parsed, file_date), items=kept, seen=file_date, load=load)
    return written, await conn.fetchval(_COUNT_OF_SCHEME, "urn") - len(parsed.rows)


async def _write_groups(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    written = await write(
        conn, "group", _groups(parsed, file_date), items=parsed.items, seen=file_date, load=load
    )
    return written, await conn.fetchval(_COUNT_OF_SCHEME, "group") - len(parsed.rows)


async def _write_group_links(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    """The groups that the rows repeat, then who joined them."""
    items = set(parsed.items) - _MEMBER_ITEMS
    await write(conn, "group", _groups(parsed, file_date), items=items, seen=file_date, load=load)
    await conn.execute(_MAKE_INCOMING_MEMBERS)
    members = [(row.facts["urn"], row.facts["group_uid"], _day(row.facts, "joined")) for row in parsed.rows]
    await conn.copy_records_to_table("incoming_member", records=members)
    done = await conn.fetch(_WRITE_MEMBERS, load)
    return _counted(done, len(members)), await conn.fetchval(
        "SELECT count(*) FROM providers.membership"
    ) - len(members)


async def _write_links(conn: Any, parsed: Parsed, file_date: date, load: int) -> tuple[Written, int]:
    await conn.execute(_MAKE_INCOMING_LINKS)
    links = [
        (
            row.facts["urn"],
            row.facts["link_urn"],
            row.facts["link_type"],
            row.facts.get("link_name"),
            _day(row.facts, "established"),
        )
        for row in parsed.rows
    ]
    await conn.copy_records_to_table("incoming_link", records=links)
    done = await conn.fetch(_WRITE_LINKS, load)
    return _counted(done, len(links)), await conn.fetchval("SELECT count(*) FROM providers.link") - len(links)


def _schools(parsed: Parsed, file_date: date) -> Iterator[Incoming]:
    """One organisation a row. When a row says it was last changed is a better day than the file's, unless later."""
    for row in parsed.rows:
        changed = _day(row.facts, "last_changed")
        valid_from = changed if changed and changed <= file_date else file_date
        facts = {name: value for name, value in row.facts.items() if name != "last_changed"}
        yield Incoming(str(facts["urn"]), "school", valid_from, facts, row.line)


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


def _day(facts: Facts, name: str) -> date | None:
    found = facts.get(name)
    return date.fromisoformat(str(found)) if found else None


def _counted(done: list[Any], rows: int) -> Written:
    new = sum(row["is_new"] for row in done)
    return Written(new, len(done) - new, rows - len(done), 0)


async def _keep_issues(conn: Any, load: int, issues: tuple[Issue, ...]) -> None:
    records = (
        (load, number, *msgspec.structs.astuple(issue)) for number, issue in enumerate(issues, start=1)
    )
    await conn.copy_records_to_table(
        "load_issue", schema_name="providers", records=records, columns=_ISSUE_COLUMNS
    )


def _report(
    parsed: Parsed, file_date: date, load: int, written: Written, absent: int, seconds: float
) -> LoadReport:
    facts = [row.facts for row in parsed.rows]
    is_schools, loaded = parsed.kind == "establishments", len(facts)
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
        absent=absent,
        issue_count=parsed.issue_count,
        issues=list(parsed.issues),
        schools=loaded if is_schools else 0,
        pupils=sum(int(row.get("pupils", 0)) for row in facts) if is_schools else 0,
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
