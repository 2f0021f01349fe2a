"""Searches with slips of the pen, and changes told to those who subscribe, brought by the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from commonroom import exchange, hub
from commonroom.hub.own_end_points import own_end_point
from commonroom.hub.push import real_now
from commonroom.hub.subscriptions import SubscribeRequest, subscribe
from commonroom.ids import alias_urn
from commonroom.registers import providers
from commonroom.registers.providers.spelling import nearest
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import assure_everybody, enrolled_client, hub_here
from tests.unit.hub.push_receiver import receiver_here
from tests.unit.registers import extracts
from tests.unit.registers.extracts import row
from tests.unit.registers.ukrlp_answers import RECORD, changed, write_lines
from tests.waiting import until_async

NAMES = (
    "Fernside Infant School",
    "St Botolph's Church of England Primary School",
    "Wrenthorpe Academy",
    "Aldgate School",
)
MOVEMENTS = """
movements:
  - id: provider-changes
    title: Changes of the register of providers
    from: {party: "urn:commonroom:alias:platform:registers"}
    to: ["urn:commonroom:alias:la:997"]
    types: [commonroom.provider.changed]
    purpose: Whoever keeps a copy keeps it right
    legal_basis: Invented for tests
    content: What changed, item by item
    frequency: {how: on_change}
    classification: public
    retention_days: "30"
    active_from: 2020-01-01
"""


async def load(conn: Any, folder: Path, rows: list[dict[str, str]], day: str = "20260310") -> None:
    await providers.load_file(conn, extracts.write(folder / f"edubasealldata{day}.csv", rows))


@pytest.mark.parametrize(
    ("typed", "urn"),
    [
        ("fernsdie infant", "990001"),  # neighbours swapped
        ("fernide", "990001"),  # a letter left out
        ("frenside", "990001"),
        ("fernside infent scool", "990001"),  # two words wrong
        ("sant botolphs", "990002"),  # the register writes St
        ("botolps church of englnd", "990002"),
        ("renthorpe", "990003"),  # the first letter
        ("wrenthrope acadamy saltmer", "990003"),  # three words wrong
        ("Aldgaet", "990004"),
        ("aldgate 990004", "990004"),
        ("997 fernsid", "990001"),  # a beginning is no slip
    ],
)
async def test_slips_of_the_pen_are_forgiven(
    pool: asyncpg.Pool, tmp_path: Path, typed: str, urn: str
) -> None:
    async with pool.acquire() as conn:
        rows = [row(990001 + n, EstablishmentName=name) for n, name in enumerate(NAMES)]
        await load(conn, tmp_path, rows)
        found = await providers.find(conn, typed)
        counted = await providers.count(conn, typed)
    assert found[0].urn == urn
    assert counted == len(found)


async def test_what_is_spelled_rightly_finds_no_neighbours(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        await load(
            conn,
            tmp_path,
            [row(990001, EstablishmentName="Alton School"), row(990002, EstablishmentName="Altan School")],
        )
        assert [one.urn for one in await providers.find(conn, "alton")] == ["990001"]
        assert await providers.find(conn, "zzyzx") == []
        assert await providers.find(conn, "990009") == []
        pages = [
            one.urn for start in (0, 1) for one in await providers.find(conn, "alten", limit=1, offset=start)
        ]
    assert sorted(pages) == ["990001", "990002"]


def test_short_words_allow_one_slip_and_long_ones_more() -> None:
    assert nearest("altn", ("alton", "along")) == ("alton",)
    assert nearest("abc", ("xyz",)) == ()
    assert nearest("templecomb", ("templecombe", "temple")) == ("templecombe",)


async def test_subscribers_are_told_item_by_item_and_by_webhook(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    allowed = settings_with(settings, push_allow_networks="127.0.0.0/8")
    async with receiver_here() as receiver, hub_here(allowed) as served, pool.acquire() as conn:
        await providers.ensure_platform(conn)
        await load(conn, tmp_path, [row()])
        await providers.load_file(conn, write_lines(tmp_path / "ukrlp20260310.json", [RECORD]))
        await providers.publish_to_directory(conn)
        await assure_everybody(conn)
        me = await own_end_point(served, conn, "registers", providers.REGISTERS)
        async with exchange.Client(served.hub_url, me.key_file, me.end_point) as client:
            assert (
                await providers.tell_subscribers(conn, client, me.party)
            ).refused == 0  # nothing is agreed yet
            (tmp_path / "movements.yaml").write_text(MOVEMENTS, "utf-8")
            await hub.load_movements(conn, tmp_path / "movements.yaml")
            authority = await hub.resolve_alias(conn, alias_urn("la", "997"))
            assert authority
            async with await enrolled_client(conn, served.hub_url, authority, tmp_path) as reader:
                wanted = SubscribeRequest(url=receiver.url)
                await subscribe(conn, wanted, authority, reader.end_point, None, real_now())
                assert (await providers.tell_subscribers(conn, client, me.party)).messages == 1
                later = row(EstablishmentName="Fernside Primary School", LastChangedDate="01-05-2026")
                await load(conn, tmp_path, [later], "20260510")
                await providers.load_file(
                    conn,
                    write_lines(tmp_path / "ukrlp20260510.json", [changed(ProviderStatus="Deactivated")]),
                )
                assert (await providers.tell_subscribers(conn, client, me.party)).messages == 1
                assert (await providers.tell_subscribers(conn, client, me.party)).messages == 0

                async def both_came() -> bool:
                    return len(receiver.pushes) == 2

                await until_async(both_came, 20, "both notices at the receiver")
    first, second = ([json.loads(line) for line in got.body.splitlines()] for got in receiver.pushes)
    assert {one["ce-type"] for one in (got.headers for got in receiver.pushes)} == {
        "commonroom.provider.changed"
    }
    assert {(one["scheme"], one["value"], *one["what"]) for one in first} == {
        ("la", "997", "added"),
        ("urn", "990001", "added"),
        ("ukprn", "10099001", "added"),
    }
    assert [(one["scheme"], one["what"], one["changes"]) for one in second] == [
        (
            "urn",
            ["renamed"],
            [{"item": "name", "before": "Fernside Infant School", "after": "Fernside Primary School"}],
        ),
        (
            "ukprn",
            ["closed"],
            [
                {"item": "status", "before": "Open", "after": "Closed"},
                {"item": "ukrlp_status", "before": "Active", "after": "Deactivated"},
            ],
        ),
    ]
