"""Posting: what waits in the outbox goes to the hub, and its fate is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import Literal

import msgspec

from commonroom.agent import outbox
from commonroom.agent.letters import Letter, halves
from commonroom.agent.memory import Memory
from commonroom.exchange import Client, Envelope, Receipt, Refusal, Unreachable, body_digest
from commonroom.exchange.sealing import NOT_SEALED, as_sealed
from commonroom.problems import Problem

MOST_LETTERS = 50
MOST_BYTES = 4_000_000
CLASSIFICATION: Literal["confidential"] = "confidential"
TOO_LARGE = 413
# What a later day, another agreement or a fuller directory mends, without anybody at the school: party not in the
# directory, no movement today, nobody to receive it, a recipient without an encryption key.
NOT_YET = ("CR-041", "CR-042", "CR-047", NOT_SEALED)

Fate = Receipt | Refusal


class Posted(msgspec.Struct, frozen=True):
    """What became of one round of letters."""

    accepted: int = 0
    refused: int = 0
    split: int = 0
    held: int = 0  # not taken yet: they wait

    def __add__(self, other: Posted) -> Posted:
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Posted(*(one + another for one, another in zip(mine, others, strict=True)))


async def post_waiting(
    client: Client, memory: Memory, party: str, books: Executor, *, encrypt: bool = False
) -> Posted:
    """Post the oldest waiting letters, once. `books` is the thread pool in which the memory is used.

    A letter is the same message (id, bytes) however often it is posted, so a kill between the hub's answer and our note
    of it changes nothing. With `encrypt` it goes encrypted to every recipient; one for whom that is not possible waits,
    or is refused, and never goes plain. Raises Unreachable; whatever was answered before that is written down.
    """
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        books, partial(outbox.waiting, memory, most=MOST_LETTERS, most_bytes=MOST_BYTES)
    )
    if not found:
        return Posted()
    if encrypt:
        found, unsealed = await _sealed(client, memory, party, books, found)
        if unsealed:
            done = await _settle(memory, books, *map(list, zip(*unsealed, strict=True)))
            return done + (await _post(client, memory, party, books, found) if found else Posted())
    return await _post(client, memory, party, books, found)


async def _post(
    client: Client, memory: Memory, party: str, books: Executor, found: Sequence[Letter]
) -> Posted:
    try:
        fates = await client.post_batch([message(letter, party) for letter in found])
    except Problem as problem:
        return await _after_refused_batch(client, memory, party, books, found, problem)
    return await _settle(memory, books, found, fates)


def envelope(letter: Letter, party: str) -> Envelope:
    """The outside of a letter."""
    return Envelope(
        id=letter.id,
        source=party,
        type=letter.type,
        time=datetime.fromisoformat(letter.made_at),
        dataschema=letter.dataschema,
        datacontenttype=letter.datacontenttype,
        recipient=letter.recipient,
        dataclassification=CLASSIFICATION,
        contentmode="changes",
        bodydigest=body_digest(letter.body),
    )


def message(letter: Letter, party: str) -> tuple[Envelope, bytes]:
    """What is posted: the letter, or what it was encrypted to."""
    outside = envelope(letter, party)
    return (outside, letter.body) if letter.sealed is None else as_sealed(outside, letter.sealed)


async def _sealed(
    client: Client, memory: Memory, party: str, books: Executor, found: Sequence[Letter]
) -> tuple[list[Letter], list[tuple[Letter, Refusal]]]:
    """These letters encrypted, which is on the disk before they go; and those that cannot be, each with the reason."""
    ready: list[Letter] = []
    unsealed: list[tuple[Letter, Refusal]] = []
    for letter in found:
        try:
            body = letter.sealed or (await client.seal(envelope(letter, party), letter.body))[1]
            ready.append(msgspec.structs.replace(letter, sealed=body))
        except Problem as problem:
            unsealed.append((letter, Refusal(letter.id, problem)))
    fresh = [(letter.id, letter.sealed or b"") for letter in ready]
    await asyncio.get_running_loop().run_in_executor(books, partial(outbox.keep_sealed, memory, fresh))
    return ready, unsealed


async def _after_refused_batch(
    client: Client, memory: Memory, party: str, books: Executor, found: Sequence[Letter], problem: Problem
) -> Posted:
    """The hub would not take the batch as a whole: each letter alone, so that one cannot hold up the others."""
    if len(found) == 1:
        return await _settle(memory, books, found, [Refusal(found[0].id, problem)])
    total = Posted()
    for letter in found:
        try:
            fate: Fate = await client.post(*message(letter, party))
        except Problem as own:
            fate = Refusal(letter.id, own)
        total += await _settle(memory, books, [letter], [fate])
    return total


async def _settle(memory: Memory, books: Executor, found: Sequence[Letter], fates: Sequence[Fate]) -> Posted:
    accepted: list[str] = []
    refused: list[tuple[str, str]] = []
    split: list[tuple[str, list[Letter]]] = []
    held: list[tuple[str, str]] = []
    later = 0
    for letter, fate in zip(found, fates, strict=True):
        if isinstance(fate, Receipt):
            accepted.append(letter.id)
        elif _says_later(fate.problem):
            later += 1
        elif fate.problem.status == TOO_LARGE and (parts := halves(letter)):
            split.append((letter.id, parts))
        elif fate.problem.code in NOT_YET:
            held.append((letter.id, str(fate.problem)))
        else:
            refused.append((letter.id, str(fate.problem)))
    await asyncio.get_running_loop().run_in_executor(
        books, partial(outbox.settle, memory, accepted=accepted, refused=refused, split=split, held=held)
    )
    if later:
        raise Unreachable(f"the hub asks to send {later} letters later")
    return Posted(len(accepted), len(refused), len(split), len(held))


def _says_later(problem: Problem) -> bool:
    """True when the answer says nothing about the letter: sign-in, too many requests, a fault of the hub."""
    return problem.status in (401, 408, 425, 429) or problem.status >= 500
