"""Mail: what one look into a mailbox brought, opened: letters first, then the hub's own reports."""

from __future__ import annotations

from typing import Any

import msgspec

from commonroom.exchange.reports import report_envelope
from commonroom.hub import sealed_letters
from commonroom.hub.collector import Errand, Found
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.reports import LeasedReport


async def opened(
    connection: Any, master_keys: MasterKeys, errand: Errand, found: Found
) -> list[LeasedLetter]:
    """The letters and reports that a collector has leased, as they are handed out."""
    letters = found.letters
    if letters:
        letters = await sealed_letters.open_all(
            connection, master_keys, letters, errand.party, errand.end_point
        )
    return [*letters, *(_as_letter(report, errand.party) for report in found.reports)]


def _as_letter(leased: LeasedReport, party: str) -> LeasedLetter:
    envelope = report_envelope(str(leased.delivery), party, leased.report)
    return LeasedLetter(
        delivery=leased.delivery,
        position=leased.position,
        accepted_at=leased.report.at,
        attempt=leased.attempt,
        envelope=msgspec.json.encode(envelope),
        body=msgspec.json.encode(leased.report),
    )
