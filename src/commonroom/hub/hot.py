"""What the four requests that make up nearly all traffic do, whichever way they came in (`api` or `fast_paths`)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from commonroom.exchange import (
    BatchResponse,
    BatchResult,
    Envelope,
    Receipt,
    Settled,
    check_digest,
    decode_batch,
)
from commonroom.exchange.contract import BATCH_TYPE
from commonroom.hub import bodies, ledger, mail
from commonroom.hub.collector import Errand
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.office import Office
from commonroom.hub.post import Outcome, Submission
from commonroom.hub.settling import wish
from commonroom.identity import Principal
from commonroom.problems import Problem

Receive = Callable[[], Awaitable[Any]]

DEFAULT_LIMIT = 100  # letters of one look
SMALL_BODY_BYTES = 128 * 1024  # of requests that are not messages

_encode = msgspec.json.Encoder().encode


async def post(office: Office, caller: Principal, envelope: Envelope, body: bytes, digest: bytes) -> Receipt:
    """Post one message; `digest` is its body's SHA-256. Raises Problem when it is refused."""
    [outcome] = await office.submit([_submission(caller, envelope, body, digest)])
    if isinstance(outcome, Problem):
        raise outcome
    return outcome


async def post_batch(office: Office, caller: Principal, body: bytes) -> BatchResponse:
    """Post the messages of a batch. Raises Problem CR-022 when it is none."""
    limit = office.settings.max_body_bytes
    outcomes: list[Outcome | None] = []
    submissions: list[Submission] = []
    for item in decode_batch(body):
        try:
            submissions.append(_batched(caller, item, limit))
            outcomes.append(None)
        except Problem as problem:
            outcomes.append(problem)
    answered = iter(await office.submit(submissions) if submissions else [])
    return BatchResponse([_result(outcome or next(answered)) for outcome in outcomes])


def check_batch_type(content_type: str) -> None:
    """Raises Problem CR-022 (415) for what is not sent as a batch."""
    if content_type.partition(";")[0].strip().lower() != BATCH_TYPE:
        raise Problem(
            "CR-022",
            f"A batch is {BATCH_TYPE}.",
            status=415,
            where="content-type",
            remedy="Set the content type.",
        )


def too_large(limit: int, remedy: str) -> Problem:
    """Problem CR-046 (413)."""
    return Problem(
        "CR-046", f"The body is over {limit:,} bytes.", status=413, where="the body", remedy=remedy
    )


def ended_early() -> Problem:
    """Problem CR-050, for the metrics: whoever sent the body has hung up."""
    return Problem("CR-050", "The body ended early.", where="the body", remedy="Send the message again.")


async def collect(
    office: Office,
    errand: Errand,
    wait: float,
    check: Callable[[], Any],
    receive: Receive,
) -> bytes:
    """The answer of GET /mailbox as JSON. `check` raises when the caller may no longer collect.

    Raises Problem CR-168 without a standby: a lease would wait for it, and all other leases behind it.
    """
    office.pulse.check_standby()
    if wait:
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            with office.metrics.waiting.track_inprogress():
                found = await office.collector.wait(errand, wait, lambda: _may(office, check), gone)
        finally:
            gone.cancel()
    else:
        found = await office.collector.ask(errand)
    letters = await mail.opened(office.pool, office.master_keys, errand, found) if found else []
    if letters:
        office.metrics.leased.inc(len(letters))
    held = office.held_of(errand.party)
    answer = {"letters": [_letter(letter) for letter in letters], **({"held": held} if held else {})}
    return _encode(answer)


async def acknowledge(office: Office, caller: Principal, deliveries: Sequence[str]) -> Settled:
    """Settle these deliveries as loaded and safe. Raises Problem CR-168 without a standby."""
    office.pulse.check_standby()
    done = wish("finish", deliveries, caller.party or "", caller.id, state=ledger.ACKNOWLEDGED)
    return counted(office, "acknowledge", await office.settler.ask(done))


def counted(office: Office, verb: str, settled: Settled) -> Settled:
    """The same, counted in the metrics."""
    office.metrics.settled.labels(verb).inc(len(settled.settled))
    return settled


def _may(office: Office, check: Callable[[], Any]) -> None:
    check()
    office.pulse.check_standby()


async def _hung_up(receive: Receive) -> None:
    """Returns when the caller has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _submission(caller: Principal, envelope: Envelope, body: bytes, digest: bytes) -> Submission:
    if envelope.bodyref is not None:
        digest = bodies.referred(envelope, body)
    else:
        check_digest(envelope, body)
    return Submission(
        envelope=envelope, body=body, digest=digest, party=caller.party or "", end_point=caller.id
    )


def _batched(caller: Principal, item: tuple[Envelope, bytes] | Problem, limit: int) -> Submission:
    if isinstance(item, Problem):
        raise item
    envelope, body = item
    if len(body) > limit:
        remedy = "Send fewer records in a message, or upload the body first (`POST /uploads`)."
        raise Problem(
            "CR-046", f"The body is over {limit:,} bytes.", status=413, where="data_base64", remedy=remedy
        )
    return _submission(caller, envelope, body, hashlib.sha256(body).digest())


def _result(outcome: Outcome) -> BatchResult:
    if isinstance(outcome, Problem):
        return BatchResult(status=outcome.status, problem=outcome.as_json())
    return BatchResult(status=202, receipt=outcome)


def _letter(letter: LeasedLetter) -> dict[str, Any]:
    # The stored envelope goes out as it came in; it was checked at accept.
    return {
        "delivery": letter.delivery,
        "position": letter.position,
        "accepted_at": letter.accepted_at,
        "attempt": letter.attempt,
        "sequence": letter.sequence,
        "previous": letter.sequence - 1 if letter.sequence is not None else None,
        **bodies.enclosed(letter),
    }
