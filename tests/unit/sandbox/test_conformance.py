"""Conformance: the suite fails end points that break a rule, and its file cannot be changed. See also tests/faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commonroom import sandbox
from commonroom.exchange import Client, Envelope, Letter, is_report, keys
from commonroom.exchange.conformance import Check, Result
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.sandbox import evidence, examination, stage
from commonroom.sandbox.examination import Examination, Failed
from commonroom.settings import Settings
from tests.hub_server import enrolled_client, hub_here

Manner = Callable[[Client, str, Letter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def examined(
    settings: Settings, pool: Any, folder: Path, manner: Manner
) -> AsyncIterator[tuple[Examination, Client]]:
    """An examination of an end point that takes letters in this manner, in the test's own hub."""
    async with hub_here(settings) as served, pool.acquire() as connection:
        await sandbox.prepare(connection, served)
        party = (await sandbox.newcomer(connection, served)).party
        own = await stage.party_of(connection, examination.EXAMINER)
        async with (
            await enrolled_client(connection, served.hub_url, party, folder) as client,
            await enrolled_client(connection, served.hub_url, own, folder) as examiner,
        ):
            task = asyncio.create_task(_live(client, party, manner))
            made = Examination(connection, served, examiner, own, party)
            made.patience = 10
            await made._enrolled()
            try:
                yield made, client
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def _live(client: Client, party: str, manner: Manner) -> None:
    while True:
        for letter in await client.pull(wait=1):
            if not is_report(letter.envelope):
                await manner(client, party, letter)
            await client.acknowledge([letter.delivery])


async def _answer(client: Client, party: str, letter: Letter, name: str) -> None:
    envelope = Envelope(
        id=name,
        source=party,
        type=sandbox.ANSWER_TYPE,
        recipient=letter.envelope.source,
        causationid=letter.envelope.id,
        datacontenttype=letter.envelope.datacontenttype,
    )
    await client.post(envelope, letter.body)


async def _says_nothing(client: Client, party: str, letter: Letter) -> None:
    pass


async def _answers_anew(client: Client, party: str, letter: Letter) -> None:
    await _answer(client, party, letter, str(uuid7()))


async def test_one_that_acknowledges_what_it_never_handled_fails(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    async with examined(settings, pool, tmp_path, _says_nothing) as (examination_, _):
        with pytest.raises(Failed, match="has 0 answers"):
            await examination_._takes()


async def test_one_that_handles_a_letter_twice_fails(settings: Settings, pool: Any, tmp_path: Path) -> None:
    async with examined(settings, pool, tmp_path, _answers_anew) as (examination_, _):
        await examination_._takes()
        with pytest.raises(Failed, match="has 2 answers"):
            await examination_._redelivered()


async def test_one_that_takes_what_it_cannot_read_fails(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    async with examined(settings, pool, tmp_path, _answers_anew) as (examination_, _):
        with pytest.raises(Failed, match="acknowledged"):
            await examination_._refuses()


async def test_a_party_without_an_end_point_fails_at_once(settings: Settings, pool: Any) -> None:
    async with hub_here(settings) as served, pool.acquire() as connection:
        await sandbox.prepare(connection, served)
        result = await examination.examine(connection, served, sandbox.NEWCOMER)
        assert [(check.name, check.passed) for check in result.checks] == [("enrolled", False)]
        with pytest.raises(Problem) as raised:
            await examination.examine(connection, served, examination.EXAMINER)
    assert raised.value.code == "CR-172"
    assert not result.passed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    result = Result("urn:p", "e", "name", (Check("enrolled", False, "nobody", 0.1),), datetime.now(UTC))
    evidence.write(Settings(data=tmp_path), result, tmp_path / "result.json")
    return tmp_path / "result.json"


def test_a_file_as_it_was_written_is_believed(file: Path) -> None:
    key = keys.public_jwk(keys.load(file.parent / "keys" / evidence.KEY_FILE))
    assert not evidence.read(file, key).passed
    assert evidence.read(file, "any").result.end_point_name == "name"


@pytest.mark.parametrize(
    ("old", "new"),
    [('"passed": false', '"passed": true'), ('"urn:p"', '"urn:q"'), ('"jws": "ey', '"jws": "eZ'), ("{", "[")],
)
def test_a_file_that_was_changed_is_not(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(Problem) as raised:
        evidence.read(file, "any")
    assert raised.value.code == "CR-173"


def test_a_file_signed_by_somebody_else_is_not_believed(file: Path, tmp_path: Path) -> None:
    other = keys.public_jwk(keys.load_or_create(tmp_path / "other.pem"))
    with pytest.raises(Problem) as raised:
        evidence.read(file, other)
    assert raised.value.code == "CR-173"
