"""The operator's page: what the hub carries, what waits, and which end points are alive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from msgspec.structs import replace

from commonroom import access
from commonroom.engines import clock
from commonroom.hub import tracking
from commonroom.hub.tracking import Traffic
from commonroom.portal import words
from commonroom.portal.charts import Chart, Series
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths
from commonroom.portal.pages.own import STATES, kind_of, message_table, require
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Table

HOURS_DRAWN = 24
HOUR = timedelta(hours=1)


@get(paths("/operator"))
async def operator(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Hub traffic in numbers; no letter is opened."""
    require(visit, "operator")
    access.rows(visit.principal, "hub.traffic", "postgres")
    seen = await tracking.traffic(conn)
    troubled = message_table("Held, or ended without success", await tracking.in_trouble(conn))
    now = await clock.now(conn)
    await access.audit(conn, visit.principal, "hub.traffic", "operator page", sum(seen.deliveries.values()))
    waiting = sum(seen.deliveries.get(state, 0) for state in ("offered", "leased"))
    page = Page(
        template="operator.html",
        title="Hub traffic",
        summary=_summary(seen, waiting, now),
        facts=(
            Fact("messages", "messages accepted", seen.messages),
            Fact("waiting", "deliveries waiting", waiting),
            Fact("end_points", "end points seen", len(seen.end_points)),
        ),
        tables=(
            _states(seen),
            replace(troubled, empty="Nothing is held, and none of the newest has ended without success."),
            _types(seen),
            _hours(seen),
            _end_points(seen, datetime.now(UTC)),
        ),
        charts=(hour_chart(seen.hours, now),),
        trail=(HOME,),
        section="my",
        private=True,
    )
    return house.answer(request, visit, page)


def hour_chart(hours: dict[datetime, int], now: datetime) -> Chart:
    """Messages by hour, the last day of the domain clock; an hour without messages is a bar of 0."""
    last = now.replace(minute=0, second=0, microsecond=0)
    drawn = [last - HOUR * back for back in reversed(range(HOURS_DRAWN))]
    numbers = tuple(hours.get(hour, 0) for hour in drawn)
    busiest = max(zip(numbers, drawn, strict=True))
    sentence = "No message was accepted in the last 24 hours."
    if busiest[0]:
        sentence = (
            f"Messages accepted in the last 24 hours: {words.number(sum(numbers))}. The busiest hour began at "
            f"{words.clock(busiest[1].astimezone(words.LONDON))}, with {words.number(busiest[0])}."
        )
    return Chart(
        name="hours",
        title="Messages accepted by hour",
        description=sentence,
        labels=tuple(f"{hour.astimezone(words.LONDON):%H:%M}" for hour in drawn),
        series=(Series("Messages", numbers),),
        kind="bar",
    )


def _summary(seen: Traffic, waiting: int, now: datetime) -> str:
    if not waiting or seen.oldest_waiting is None:
        return "Nothing is waiting: every message has reached its receivers."
    many = words.count(waiting, "delivery", "deliveries")
    return f"{many} waiting, the oldest for {words.ago(now - seen.oldest_waiting)}."


def _states(seen: Traffic) -> Table:
    rows = tuple((title, seen.deliveries.get(state, 0)) for state, title in STATES.items())
    columns = (Column("state", "State"), Column("deliveries", "Deliveries", "number"))
    return Table(name="states", title="Deliveries by state", columns=columns, rows=rows)


def _types(seen: Traffic) -> Table:
    rows = tuple((kind_of(one), number, one) for one, number in seen.types.items())
    columns = (
        Column("what", "What"),
        Column("messages", "Messages", "number"),
        Column("type", "Type", "code"),
    )
    return Table(name="types", title="Messages by type", columns=columns, rows=rows, empty="No message yet.")


def _hours(seen: Traffic) -> Table:
    rows = tuple((hour, number) for hour, number in sorted(seen.hours.items(), reverse=True))
    columns = (Column("hour", "Hour beginning", "time"), Column("messages", "Messages", "number"))
    return Table(
        name="hours", title="Messages by hour", columns=columns, rows=rows, empty="No message in three days."
    )


def _end_points(seen: Traffic, now: datetime) -> Table:
    rows = tuple(
        (one.party_name, one.seen_at, f"{words.ago(now - one.seen_at)} ago", one.end_point)
        for one in seen.end_points
    )
    columns = (
        Column("party", "Organisation"),
        Column("seen_at", "Last seen", "time"),
        Column("ago", "How long ago"),
        Column("end_point", "End point", "code"),
    )
    empty = "No end point has called yet."
    return Table(name="end_points", title="End points", columns=columns, rows=rows, empty=empty)


HANDLERS = [operator]
