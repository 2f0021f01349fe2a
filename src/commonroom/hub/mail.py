"""Mail: what one look into a mailbox brings, letters first, then the hub's own reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from commonroom.exchange.reports import report_envelope
from commonroom.hub import mailbox, reports, sealed_letters
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.reports import LeasedReport

Kind = Literal["letters", "reports", "all"]


async def collect(
    connection: Any,
    master_keys: MasterKeys,
    party: str,
    end_point: str,
    limit: int,
    seconds: float,
    *,
    kind: Kind = "all",
    closed: Sequence[str] = (),
) -> list[LeasedLetter]:
    """Up to `limit` letters and reports under a lease. Reports get the room that letters leave."""
    found: list[LeasedLetter] = []
    if kind != "reports":
        leased = await mailbox.lease(connection, party, end_point, limit, seconds, closed=closed)
        found = await sealed_letters.open_all(connection, master_keys, leased, party, end_point)
    if kind != "letters" and (room := limit - len(found)):
        told = await reports.lease(connection, party, end_point, room, seconds)
        found += [_as_letter(report, party) for report in told]
    return found


def _as_letter(leased: LeasedReport, party: str) -> LeasedLetter:
    envelope = report_envelope(str(leased.delivery), party, leased.report)
    return LeasedLetter(
        delivery=leased.delivery,
        position=leased.position,
        accepted_at=leased.report.at,
        attempt=leased.attempt,
        envelope=msgspec.to_builtins(envelope),
        body=msgspec.json.encode(leased.report),
    )
