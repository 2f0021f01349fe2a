"""Partners: end points of invented parties that take what a newcomer sends, each in its own manner.

They use the same client as everybody. One process runs them all; each keeps its key in `partners/<name>/`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import log
from commonroom.exchange import (
    Client,
    Enrolment,
    Envelope,
    Letter,
    SignInRefused,
    Unreachable,
    enrol,
    is_report,
)
from commonroom.ids import alias_urn
from commonroom.problems import Problem
from commonroom.settings import Settings

GREETING_TYPE = "commonroom.sandbox.greeting"
ANSWER_TYPE = "commonroom.sandbox.answer"

SLOW_SECONDS = 15.0  # well inside the lease
WAIT_SECONDS = 20.0
RETRY_SECONDS = 0.5
MANY, ONE = 50, 1
REASON = "This partner of the sandbox refuses everything, so that you see what a refusal looks like."

Manner = Literal["echo", "refuse", "slow", "acknowledge"]

_logger = log.get("partners")


class Partner(msgspec.Struct, frozen=True):
    """One party that takes part, and how it takes letters."""

    name: str
    party: str  # alias
    manner: Manner


PARTNERS = (
    # Sends the body back under ANSWER_TYPE, then acknowledges.
    Partner("echo", alias_urn("urn", "990002"), "echo"),
    Partner("refusing", alias_urn("urn", "990003"), "refuse"),
    # Holds each letter for SLOW_SECONDS before it acknowledges.
    Partner("slow", alias_urn("urn", "990004"), "slow"),
    Partner("authority", alias_urn("la", "997"), "acknowledge"),
)


def folder_of(settings: Settings, partner: Partner) -> Path:
    """Where a partner keeps its one-time code, its key and its enrolment."""
    folder = settings.folder("partners") / partner.name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def run(settings: Settings) -> None:
    """All partners, for ever."""
    async with asyncio.TaskGroup() as together:
        for partner in PARTNERS:
            together.create_task(_live(settings, partner))


async def _live(settings: Settings, partner: Partner) -> None:
    folder = folder_of(settings, partner)
    enrolment = await _enrolled(settings, partner, folder)
    async with Client(settings.hub_url, folder / "key.pem", enrolment.end_point) as client:
        while True:
            try:
                await _take_mail(client, partner, enrolment.party)
            except SignInRefused as refused:
                _logger.error("partner not let in", partner=partner.name, problem=str(refused))
                await asyncio.sleep(WAIT_SECONDS)
            except Unreachable as cut:
                await asyncio.sleep(cut.retry_after or RETRY_SECONDS)


async def _enrolled(settings: Settings, partner: Partner, folder: Path) -> Enrolment:
    """The enrolment this partner remembers, or a new one by the code that `stage` left."""
    kept = folder / "enrolment.json"
    if kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Enrolment)
    code = (folder / "code").read_text("ascii")
    while True:
        try:
            enrolment = await enrol(settings.hub_url, code, folder / "key.pem", f"partner {partner.name}")
            break
        except Unreachable:
            await asyncio.sleep(RETRY_SECONDS)
    new = kept.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(enrolment))
    new.replace(kept)
    return enrolment


async def _take_mail(client: Client, partner: Partner, party: str) -> None:
    for letter in await client.pull(ONE if partner.manner == "slow" else MANY, WAIT_SECONDS):
        if is_report(letter.envelope):
            await client.acknowledge([letter.delivery])
            continue
        if partner.manner == "refuse":
            await client.refuse(letter.delivery, REASON)
            continue
        if partner.manner == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if partner.manner == "echo" and letter.envelope.type == GREETING_TYPE and letter.stored is None:
            if not readable(letter.envelope.datacontenttype, letter.body):
                await client.refuse(letter.delivery, "The body is said to be text and is not UTF-8.")
                continue
            await _answer(client, party, letter)
        await client.acknowledge([letter.delivery])


async def _answer(client: Client, party: str, letter: Letter) -> None:
    """Send the body back. The id is the delivery's, so that a letter taken twice is answered once."""
    envelope = Envelope(
        id=f"answer-{letter.delivery}",
        source=party,
        type=ANSWER_TYPE,
        datacontenttype=letter.envelope.datacontenttype,
        recipient=letter.envelope.source,
        causationid=letter.envelope.id,
    )
    while True:
        try:
            await client.post(envelope, letter.body)
            return
        except Unreachable as cut:  # the letter stays ours meanwhile, or comes again
            await asyncio.sleep(cut.retry_after or RETRY_SECONDS)
        except Problem as problem:
            _logger.warning("answer refused", problem=problem.code)
            return


def readable(media_type: str | None, body: bytes) -> bool:
    """Whether a body that is said to be text is some."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return media_type is None or not media_type.startswith("text/")
    return True
