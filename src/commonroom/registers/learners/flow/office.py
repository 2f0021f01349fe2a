"""The register's own end point at the hub: it takes what schools tell of their pupils and sends each school its numbers.

Any kill between two lines is made good by the next run. What letters tell is kept before they are acknowledged, numbers
and the letters that tell them are written in one transaction, and those have their message ids from then on: sent again
after a kill they are the same messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from commonroom import exchange, log
from commonroom.exchange import Client, Envelope, Letter, Refusal, Unreachable
from commonroom.hub import directory
from commonroom.hub.own_end_points import keep_serving, own_end_point
from commonroom.ids import alias_urn
from commonroom.problems import Problem
from commonroom.registers.learners.flow import pupils, tellings
from commonroom.registers.learners.flow.pupils import Taking
from commonroom.registers.learners.numbers import Numbers
from commonroom.settings import Settings
from commonroom.standard.agreement import own_event_type
from commonroom.stopping import pause, until_stopped

LEARNERS = alias_urn("platform", "learners")
TYPE = own_event_type(pupils.NUMBER)
LETTERS_A_PULL = 60
BODIES_A_PULL = 4 * exchange.LARGEST  # large bodies that come with their letters
LETTERS_A_POST = 50
WAIT_SECONDS = 3.0
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0  # while the hub refuses: a movement that is not agreed yet, say
UNUSABLE = "The register of learners cannot make anything of the values in it."
_OF_VALUES = (ValueError, TypeError, LookupError, ArithmeticError)
_log = log.get("learner numbers")

_WAITING = """
SELECT message, recipient, dataschema, body
FROM learners.number_letter
WHERE NOT accepted AND message <> ALL ($1::uuid[])
ORDER BY at, message
LIMIT $2
"""
_ACCEPTED = "UPDATE learners.number_letter SET accepted = true, body = NULL WHERE message = ANY ($1::uuid[])"
_PURGE_TAKEN = "DELETE FROM learners.taken WHERE at < clock_timestamp() - interval '60 days'"
_PURGE_LETTERS = """
DELETE FROM learners.number_letter WHERE accepted AND at < clock_timestamp() - interval '60 days'
"""


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Take, give and tell until `stop` is set, or for ever; waits for the database, the hub and the directory."""
    await keep_serving(settings, _serve, "learner numbers", RETRY_SECONDS, stop)


async def take_letters(
    client: Client, connection: Any, numbers: Numbers, party: str, letters: Sequence[Letter] = ()
) -> int:
    """Take letters, give the numbers that are due, post what tells schools of them; how many the hub would not take.

    A letter is acknowledged last: while it is under way, so is what comes of it.
    """
    told = [letter for letter in letters if not exchange.is_report(letter.envelope)]
    refused = await _keep(connection, told)
    while (done := await pupils.submit(connection, numbers)).submitted or done.letters:
        _log.info("numbers given", pupils=done.submitted, told=done.numbered, letters=done.letters)
    waiting = await _post(connection, client, party)
    good = [letter.delivery for letter in letters if letter.delivery not in refused]
    if good:
        await client.acknowledge(good)
    for delivery, reason in refused.items():
        await client.refuse(delivery, reason)
    return waiting


async def purge(settings: Settings, connection: Any) -> None:
    """The recurring job: forget which letters were taken, and were sent, long ago."""
    await connection.execute(_PURGE_TAKEN)
    await connection.execute(_PURGE_LETTERS)


async def _serve(settings: Settings, connection: Any, stop: asyncio.Event) -> None:
    numbers = Numbers.of(settings)
    me = await own_end_point(settings, connection, "learners", LEARNERS)
    refusals = 0
    async with Client(
        settings.hub_url, me.key_file, me.end_point, verify=settings.require_signatures
    ) as client:
        await client.publish_encryption_key()
        while not stop.is_set():
            pulling = client.pull(LETTERS_A_PULL, WAIT_SECONDS, bodies=BODIES_A_PULL)
            letters = await until_stopped(pulling, stop) or []
            _note_reports(letters)
            try:
                waiting = await take_letters(client, connection, numbers, me.party, letters)
            except Exception:
                await _release(client, letters)
                raise
            refusals = refusals + 1 if waiting else 0
            if refusals and not letters:
                await pause(stop, min(RETRY_SECONDS * 2**refusals, LONGEST_RETRY_SECONDS))


async def _keep(connection: Any, letters: Sequence[Letter]) -> dict[str, str]:
    """Keep what good letters tell; why the others are refused, by delivery. Reasons hold no personal values."""
    if not letters:
        return {}
    try:
        return await _keep_together(connection, letters)
    except Exception as error:
        # Pulled again and again such a letter would stop all others: it alone is refused.
        if not _lies_in_content(error):
            raise
        if len(letters) == 1:
            log.fault(_log, "letter fails by itself, refused", error)
            return {letters[0].delivery: UNUSABLE}
    found: dict[str, str] = {}
    for letter in letters:
        found |= await _keep(connection, [letter])
    return found


def _lies_in_content(error: Exception) -> bool:
    """Whether a fault would be the same the next time: values that nothing can be made of, here or in the database."""
    return isinstance(error, _OF_VALUES) or str(getattr(error, "sqlstate", "")).startswith("22")


async def _keep_together(connection: Any, letters: Sequence[Letter]) -> dict[str, str]:
    readings = await asyncio.to_thread(lambda: [tellings.read(letter) for letter in letters])
    schools = sorted({alias_urn("urn", urn) for one in readings for urn in one.schools})
    parties = await directory.resolve_aliases(connection, schools)
    good: list[Taking] = []
    refused: dict[str, str] = {}
    for letter, found in zip(letters, readings, strict=True):
        sender = letter.envelope.source
        if found.refused:
            refused[letter.delivery] = found.refused
        elif any(parties.get(alias_urn("urn", urn)) != sender for urn in found.schools):
            refused[letter.delivery] = "The sender does not speak for the school whose pupils these are."
        else:
            good.append(
                Taking(
                    sender=sender,
                    message=letter.envelope.id,
                    tellings=found.tellings,
                    rekeyed=found.rekeyed,
                    early=found.early,
                )
            )
    new = await pupils.keep(connection, good)
    left_out = sum(one.left_out for one in readings)
    _log.info("letters taken", letters=new, again=len(good) - new, refused=len(refused), left_out=left_out)
    return refused


async def _post(connection: Any, client: Client, party: str) -> int:
    """Post the letters that wait, oldest first; how many the hub would not take, which wait for the next time."""
    refused: list[str] = []
    while rows := await connection.fetch(_WAITING, refused, LETTERS_A_POST):
        for fate in await client.post_batch([_letter(party, row) for row in rows]):
            if isinstance(fate, Refusal):
                _log.warning("numbers refused by the hub, wait", message=fate.id, code=fate.problem.code)
                refused.append(fate.id)
        left = set(refused)
        await connection.execute(
            _ACCEPTED, [row["message"] for row in rows if str(row["message"]) not in left]
        )
    return len(refused)


async def _release(client: Client, letters: Sequence[Letter]) -> None:
    """Have the letters offered again at once; should that fail too, they come when their lease ends."""
    try:
        if letters:
            await client.release([letter.delivery for letter in letters])
    except (Unreachable, Problem) as error:
        _log.warning("letters stay leased for a while", error=type(error).__name__)


def _letter(party: str, row: Any) -> tuple[Envelope, bytes]:
    envelope = Envelope(
        id=str(row["message"]),
        source=party,
        type=TYPE,
        recipient=row["recipient"],
        dataschema=row["dataschema"],
        datacontenttype=exchange.RECORDS_ZSTD_TYPE,
    )
    return envelope, row["body"]


def _note_reports(letters: Sequence[Letter]) -> None:
    """A number that a school's system would not take is found in the log; the look-up list has it all the same."""
    for letter in letters:
        if exchange.is_report(letter.envelope):
            end = exchange.read_report(letter.body)
            if end.state != "acknowledged":
                _log.warning("numbers ended unread", message=end.message, state=end.state)
