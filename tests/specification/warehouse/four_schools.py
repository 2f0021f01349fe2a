"""Four schools whose bodies ask for measures of their own.

A, B and D lie in Westmarch (997), C in Eastvale (998). A and C are academies of the trust T1,
D is one of T2. The movement `school-record` brings attendance marks to each school's local authority,
and nothing else; suspensions go to nobody but the department.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from commonroom.engines import clock
from commonroom.hub import directory, load_movements
from commonroom.hub.agreements import Actor
from commonroom.hub.directory import Alias, Party
from commonroom.identity import PUBLIC, Principal
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.settings import Settings
from commonroom.warehouse import own, own_figures
from commonroom.warehouse.own_figures import OwnFigures
from tests.hub_server import assure_everybody
from tests.specification.warehouse.test_measures import load_registers
from tests.unit.warehouse.house import REGISTERS, House, organisation

A, B, C, D = SCHOOLS = ["990001", "990002", "990003", "990004"]
DAY = date(2026, 9, 9)
SENT = "2026-09-11T16:00+00:00"
OPERATOR = Actor(role="operator", name="operator")
MOVEMENTS = """
movements:
  - id: school-record
    title: The school's record
    from: {kind: school}
    to: [its local authority, "urn:commonroom:alias:platform:registers"]
    types: [commonroom.attendance-mark.changed]
    content: Marks.
    purpose: A test of what an authority may count.
    legal_basis: Invented.
    frequency: {how: on_change, lateness_after: 60}
    classification: confidential
    retention_days: 400
    active_from: 2026-08-01
    active_to: 2027-07-31
  - id: exclusions
    title: Suspensions go to the department alone
    from: {kind: school}
    to: ["urn:commonroom:alias:platform:registers"]
    types: [commonroom.exclusion.changed]
    content: Suspensions and exclusions.
    purpose: A test of what an authority may count.
    legal_basis: Invented.
    frequency: {how: on_change, lateness_after: 60}
    classification: confidential
    retention_days: 400
    active_from: 2026-08-01
"""
LATE = """
name: late_marks
title: Late marks
meaning: Sessions for which pupils came late.
source: "Our own"
entity: attendance_mark
taken: over the period
unit: [school, upn]
each: {late: sum(code == 'L')}
numerator: sum(late)
shown_as: count
levels: [school]
grains: [week, term]
suppression: {}
"""


@asynccontextmanager
async def four_schools(pool: Any, settings: Settings) -> AsyncIterator[House]:
    """The schools with their movements and marks, on 30 September."""
    async with pool.acquire() as connection:
        # The movements are agreed before anything is sent under them.
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-08-20T12:00+00:00"))
        house = await House(connection, settings, SCHOOLS).open("997", "998")
        trusts = {uid: org_urn(uuid7()) for uid in ("T1", "T2")}
        house.parties |= trusts
        await directory.publish(
            connection,
            [Party(party, f"Trust {uid}", ("academy trust",)) for uid, party in trusts.items()],
            [Alias(alias_urn("group", uid), party) for uid, party in trusts.items()],
            [],
        )
        await assure_everybody(connection)
        await load_movements(connection, movements_file(settings, MOVEMENTS))
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-30T12:00+00:00"))
        await house.load(
            house.letter(
                REGISTERS,
                "organisation",
                [
                    organisation(house.parties[urn], urn, la, trust_uid=trust, trust_name=trust)
                    for urn, la, trust in (
                        (A, "997", "T1"), (B, "997", None), (C, "998", "T1"), (D, "997", "T2"),
                    )
                ],
                accepted_at="2025-09-01T08:00+00:00",
            )
        )  # fmt: skip
        for number, school in enumerate(SCHOOLS):  # one late mark at A, two at B, three at C, four at D
            late = "L/ " * (number + 1)
            await load_registers(house, school, f"{number + 1}: {late}", accepted_at=SENT)
        yield house


def movements_file(settings: Settings, text: str) -> Path:
    path = settings.data / "movements.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def who(house: House, role: Any, of: str = "") -> Principal:
    party = house.parties.get(of) or house.authorities.get(of)
    return PUBLIC if role == "public" else Principal(kind="person", id="p", role=role, party=party)


async def asked(
    house: House, principal: Principal, text: str = LATE, day: date = DAY, grain: str = "week", **more: Any
) -> OwnFigures:
    defined = await own.define(house.connection, principal, text)
    return await own_figures.figures(
        house.settings, house.duck, house.connection, principal, defined.measure.name,
        grain=grain, first=day, last=day, **more,
    )  # fmt: skip


def told(answer: OwnFigures) -> dict[str, int]:
    return {figure.unit: figure.numerator for figure in answer.figures}
