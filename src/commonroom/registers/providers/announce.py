"""The register's own end point: every new version of an organisation goes to the warehouse as a message.

Those who subscribe to changes are an audience of their own: as soon as a movement of the type
`commonroom.provider.changed` runs, they are told of every change item by item, by the hub's push if they like.

Versions are cut into ranges of up to 500, and a range gets its message id before the first attempt. The same range is
the same message with the same bytes, so sending it again after a crash is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from commonroom import exchange, hub, log, standard
from commonroom.exchange import Client, Envelope, RecordSet, Refusal, read_report
from commonroom.hub.own_end_points import keep_serving, own_end_point
from commonroom.ids import org_urn
from commonroom.registers.providers.changes import words
from commonroom.registers.providers.lookup import changes
from commonroom.registers.providers.organisations import CHANGED_CHANNEL, lock
from commonroom.registers.providers.publish import REGISTERS, ensure_platform, publish_to_directory
from commonroom.settings import Settings

TYPE = "commonroom.organisation.changed"
NOTICE = "commonroom.provider.changed"
Audience = Literal["warehouse", "subscribers"]
ENTITY = "organisation"
RECORDS_A_MESSAGE = 500
MESSAGES_A_BATCH = 10  # 500 organisations are about 250 KB
LISTEN_SECONDS = 30.0  # a missed notice is made up for after this long
RETRY_SECONDS = 1.0
REPORTS_A_PULL = 200
LONGEST_RETRY_SECONDS = 60.0  # while the hub refuses: a movement that is not agreed yet, say
_log = log.get("registers")


class Announced(msgspec.Struct, frozen=True):
    """What the hub took and what it would not take yet."""

    messages: int
    records: int
    refused: int


class _Range(msgspec.Struct, frozen=True):
    message: str
    first: int
    last: int


# Under the loads' lock, so that no version of a lower position can still be on its way.
_CUT = """
INSERT INTO providers.announcement (message, audience, first_position, last_position, recorded_at)
SELECT gen_random_uuid(), $2, min(position), max(position), engines.domain_now()
FROM (
    SELECT position, (row_number() OVER (ORDER BY position) - 1) / $1 AS part
    FROM providers.version
    WHERE position > (SELECT coalesce(max(last_position), 0) FROM providers.announcement WHERE audience = $2)
) AS new
GROUP BY part
"""

_WAITING = """
SELECT message, first_position, last_position
FROM providers.announcement
WHERE NOT accepted AND audience = $1
ORDER BY first_position
"""

# The trust that the version itself names; else, for files that name none, the one that the school has joined last, as it was
# known when the range was cut: sent again, a range is the same to the byte. $4 is the range's message.
_RECORDS = """
SELECT v.position, v.organisation, v.kind, v.valid_from, v.facts, trust.uid AS trust_uid, trust.name AS trust_name
FROM providers.announcement AS cut
JOIN providers.version AS v ON v.position BETWEEN $1 AND $2 AND v.kind = ANY ($3::text[])
JOIN providers.organisation AS o ON o.id = v.organisation
LEFT JOIN LATERAL (
    SELECT g.value AS uid, told.facts ->> 'name' AS name
    FROM (
        SELECT DISTINCT ON (other) other, what, since
        FROM providers.link_version
        WHERE relation = 'membership' AND urn = o.value AND recorded_at <= cut.recorded_at
        ORDER BY other, position DESC
    ) AS m
    JOIN providers.organisation AS g ON g.scheme = 'group' AND g.value = m.other
    JOIN LATERAL (
        SELECT facts, kind
        FROM providers.version
        WHERE organisation = g.id AND recorded_at <= cut.recorded_at
        ORDER BY valid_from DESC, position DESC
        LIMIT 1
    ) AS told ON told.kind = 'trust'
    WHERE m.what <> 'ended' AND o.scheme = 'urn'
    ORDER BY m.since DESC NULLS LAST, g.value
    LIMIT 1
) AS trust ON true
WHERE cut.message = $4::uuid
ORDER BY v.position
"""

# Each version with the one that held before it. What a provider keeps itself is told as a change of that provider.
_NOTICES = """
SELECT
    v.position, subject.id AS organisation, subject.scheme, subject.value, subject.kind, subject.name,
    subject.facts ->> 'ukprn' AS ukprn, v.valid_from, v.recorded_at, v.facts, before.facts AS before
FROM providers.version AS v
JOIN providers.organisation AS o ON o.id = v.organisation
JOIN providers.organisation AS subject
    ON subject.id = CASE o.scheme WHEN 'own' THEN o.value::uuid ELSE o.id END
LEFT JOIN LATERAL (
    SELECT earlier.facts
    FROM providers.version AS earlier
    WHERE earlier.organisation = v.organisation AND (earlier.valid_from, earlier.position) < (v.valid_from, v.position)
    ORDER BY earlier.valid_from DESC, earlier.position DESC
    LIMIT 1
) AS before ON true
WHERE v.position BETWEEN $1 AND $2 AND v.kind <> ALL ('{platform,department}')
    AND v.facts IS DISTINCT FROM before.facts -- else only the school's trust has changed, of which links tell
ORDER BY v.position
"""

_ACCEPT = "UPDATE providers.announcement SET accepted = true WHERE message = ANY ($1::uuid[])"

# Items of the standard's entity that are facts of the same name.
_ITEMS = (
    "name", "urn", "laestab", "ukprn", "type", "phase", "status", "la_code", "la_name", "region_code", "region_name",
    "trust_uid", "trust_name", "postcode", "town", "low_age", "high_age", "capacity", "open_date", "close_date",
)  # fmt: skip


async def publish_changes(
    conn: Any, client: Client, party: str, audience: Audience = "warehouse"
) -> Announced:
    """Post every version not yet told, oldest first. Raises Unreachable (repeat later); what was posted stays posted.

    A message that the hub refuses (no movement yet, say) waits and is tried again at the next call.
    """
    async with conn.transaction():
        await lock(conn)
        await conn.execute(_CUT, RECORDS_A_MESSAGE, audience)
    waiting = [
        _Range(str(row["message"]), row["first_position"], row["last_position"])
        for row in await conn.fetch(_WAITING, audience)
    ]
    messages = records = refused = 0
    for start in range(0, len(waiting), MESSAGES_A_BATCH):
        done = await _post(conn, client, party, audience, waiting[start : start + MESSAGES_A_BATCH])
        messages, records, refused = messages + done.messages, records + done.records, refused + done.refused
    return Announced(messages, records, refused)


async def tell_subscribers(conn: Any, client: Client, party: str) -> Announced:
    """Post the changes not yet told to those who subscribe, when a movement lets them; otherwise nothing is cut yet."""
    agreed = await hub.list_movements(conn, party)
    if not any(one.active and NOTICE in one.movement.types for one in agreed):
        return Announced(0, 0, 0)
    return await publish_changes(conn, client, party, "subscribers")


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Keep directory and warehouse up to date with the register until `stop` is set, or for ever.

    Waits for the database and the hub to be there, and comes back when either goes away.
    """
    await keep_serving(settings, _keep_up, "registers", RETRY_SECONDS, stop)


def record(row: Any) -> dict[str, Any]:
    """A version as a record of the standard's `organisation`."""
    facts = row["facts"]
    items = {item: facts[item] for item in _ITEMS if item in facts}
    if "trust_uid" not in items and row["trust_uid"] is not None:
        items |= {"trust_uid": row["trust_uid"], "trust_name": row["trust_name"]}
    return {
        "organisation": org_urn(row["organisation"]),
        "kind": row["kind"],
        **items,
        "version": row["position"],
        "valid_from": row["valid_from"].isoformat(),
    }


async def _keep_up(settings: Settings, conn: Any, stop: asyncio.Event) -> None:
    await ensure_platform(conn)
    await publish_to_directory(conn)
    me = await own_end_point(settings, conn, "registers", REGISTERS)
    changed = asyncio.Event()
    await conn.add_listener(CHANGED_CHANNEL, lambda *_: changed.set())
    conn.add_termination_listener(lambda _: changed.set())
    async with Client(settings.hub_url, me.key_file, me.end_point) as client:
        refusals = 0
        while not stop.is_set():
            changed.clear()
            await publish_to_directory(conn)
            done = _sum(
                await publish_changes(conn, client, me.party), await tell_subscribers(conn, client, me.party)
            )
            if done.messages or done.refused:
                _log.info(
                    "register announced", messages=done.messages, records=done.records, refused=done.refused
                )
            await _take_reports(client)
            refusals = refusals + 1 if done.refused else 0
            pause = min(RETRY_SECONDS * 2**refusals, LONGEST_RETRY_SECONDS) if refusals else LISTEN_SECONDS
            await _first_of(stop, pause, changed)


async def _take_reports(client: Client) -> None:
    """Note what became of our announcements; every one stays in the register and can be sent again."""
    while told := await client.pull(REPORTS_A_PULL, 0, "reports"):
        for report in (read_report(letter.body) for letter in told):
            if report.state != "acknowledged":
                _log.warning("announcement ended unread", message=report.id, state=report.state)
        await client.acknowledge([letter.delivery for letter in told])


async def _post(
    conn: Any, client: Client, party: str, audience: Audience, ranges: Sequence[_Range]
) -> Announced:
    """Post some ranges; those accepted, and those with nothing for the audience in them, are done."""
    contents = {one.message: await _content(conn, audience, one) for one in ranges}
    posted = [one.message for one in ranges if contents[one.message]]
    letter = _letter if audience == "warehouse" else _notice
    letters = [letter(party, message, contents[message]) for message in posted]
    fates = await client.post_batch(letters) if letters else []
    refusals = {fate.id: fate.problem for fate in fates if isinstance(fate, Refusal)}
    for message, problem in refusals.items():
        _log.warning("announcement refused, waits", message=message, code=problem.code, detail=problem.detail)
    await conn.execute(_ACCEPT, [one.message for one in ranges if one.message not in refusals])
    accepted = [message for message in posted if message not in refusals]
    return Announced(len(accepted), sum(len(contents[message]) for message in accepted), len(refusals))


async def _content(conn: Any, audience: Audience, one: _Range) -> Sequence[Any]:
    if audience == "subscribers":
        found: Sequence[Any] = await conn.fetch(_NOTICES, one.first, one.last)
        return found
    kinds = [code.code for code in standard.load().codesets["organisation_kind"].codes]
    told: Sequence[Any] = await conn.fetch(_RECORDS, one.first, one.last, kinds, one.message)
    return told


def _letter(party: str, message: str, rows: Sequence[Any]) -> tuple[Envelope, bytes]:
    version = standard.load().version
    envelope = Envelope(
        id=message,
        source=party,
        type=TYPE,
        dataschema=f"urn:commonroom:standard:{version}",
        datacontenttype=exchange.RECORDS_TYPE,
        dataclassification="public",
    )
    return envelope, exchange.encode(
        RecordSet(standard=version, records={ENTITY: [record(row) for row in rows]})
    )


def _notice(party: str, message: str, rows: Sequence[Any]) -> tuple[Envelope, bytes]:
    """One line of JSON a change."""
    envelope = Envelope(
        id=message,
        source=party,
        type=NOTICE,
        datacontenttype="application/x-ndjson",
        dataclassification="public",
    )
    return envelope, msgspec.json.Encoder().encode_lines([notice(row) for row in rows])


def notice(row: Any) -> dict[str, Any]:
    """What a version changed, as subscribers are told; of an organisation that is new, its name and numbers alone."""
    before, after = row["before"], row["facts"]
    return {
        "organisation": org_urn(row["organisation"]),
        "scheme": row["scheme"],
        "value": row["value"],
        "kind": row["kind"],
        "name": row["name"],
        "ukprn": row["ukprn"],
        "version": row["position"],
        "valid_from": row["valid_from"].isoformat(),
        "recorded_at": row["recorded_at"].isoformat(),
        "what": words(before, after),
        "changes": changes(before, after) if before is not None else (),
    }


def _sum(one: Announced, other: Announced) -> Announced:
    return Announced(one.messages + other.messages, one.records + other.records, one.refused + other.refused)


async def _first_of(stop: asyncio.Event, seconds: float, *others: asyncio.Event) -> None:
    """Wait for any of the events, at most `seconds`."""
    waits = [asyncio.ensure_future(event.wait()) for event in (stop, *others)]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
