"""The pattern of a school day in England: which school sends what, and when. Pure; every assumption stands here.

Numbers of schools and authorities are England's, rounded; the times and shares are assumed and meant to be disputed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal

import msgspec

from commonroom.exchange import RecordSet, encode

NATION_SCHOOLS = 24_000
NATION_AUTHORITIES = 153
MINUTE, HOUR = 60, 3600
DAY_BEGINS, DAY_ENDS = 8 * HOUR + 30 * MINUTE, 16 * HOUR

SMALL, LARGE = 250, 1_000  # pupils; with one school in six a large one it is 9 million
LARGE_EVERY = 6
RECORDS_A_LETTER = 500  # as the agent cuts them
COMPRESS_FROM = 2_000  # bytes, as the agent does

# When the bell for registration rings, with weights; the register is whole some minutes later, and the agent, which looks
# once a minute, tells of it at its next look.
MORNING_BELLS = ((8 * HOUR + 45 * MINUTE, 3), (8 * HOUR + 50 * MINUTE, 4), (9 * HOUR, 3))
AFTERNOON_BELLS = ((13 * HOUR, 4), (13 * HOUR + 15 * MINUTE, 3), (13 * HOUR + 30 * MINUTE, 3))
REGISTER_MINUTES = (3, 12, 6)  # at least, at most, most often
LOOK_SECONDS = 60
LATE_ARRIVALS, LATER_CORRECTIONS, CHANGES = 3, 3, 4  # messages a school
CORRECTED = (1, 4)  # records in one, from and to

Kind = Literal["register", "correction", "change"]


class Sending(msgspec.Struct, frozen=True):
    """One message of a school."""

    at: float  # seconds of the day, from midnight
    school: int
    kind: Kind
    size: int  # bytes of the body


def pupils_of(school: int) -> int:
    """How many pupils a school has."""
    return LARGE if school % LARGE_EVERY == 0 else SMALL


def day(schools: int, seed: int) -> list[Sending]:
    """Everything that so many schools send on one day, in its order."""
    dice = random.Random(seed)  # noqa: S311 - an invented day
    found = [one for school in range(schools) for one in _school_day(dice, school)]
    return sorted(found, key=lambda sending: sending.at)


def registers(schools: int) -> list[Sending]:
    """The morning registers of all schools, at one moment."""
    return [Sending(0, school, "register", size) for school in range(schools) for size in _register(school)]


def most_within(sendings: Sequence[Sending], seconds: float) -> int:
    """The most that are sent within one of the day's stretches of so many seconds."""
    return max(Counter(int(sending.at / seconds) for sending in sendings).values())


def _school_day(dice: random.Random, school: int) -> Iterator[Sending]:
    done = 0.0
    for bells in (MORNING_BELLS, AFTERNOON_BELLS):
        taken = _bell(dice, bells) + MINUTE * dice.triangular(*REGISTER_MINUTES)
        told = taken + dice.uniform(0, LOOK_SECONDS)
        done = done or told
        for size in _register(school):
            yield Sending(told, school, "register", size)
    for _ in range(LATE_ARRIVALS):
        yield _correction(dice, done + dice.triangular(0, 90 * MINUTE, 15 * MINUTE), school)
    for _ in range(LATER_CORRECTIONS):
        yield _correction(dice, dice.uniform(10 * HOUR, 15 * HOUR + 30 * MINUTE), school)
    for _ in range(CHANGES):
        yield Sending(dice.uniform(9 * HOUR, DAY_ENDS), school, "change", body_bytes(dice.randint(1, 2)))


def _bell(dice: random.Random, bells: Sequence[tuple[int, int]]) -> int:
    return dice.choices([bell for bell, _ in bells], [weight for _, weight in bells])[0]


def _register(school: int) -> Iterator[int]:
    """The sizes of the letters that one register makes."""
    left = pupils_of(school)
    while left:
        records = min(left, RECORDS_A_LETTER)
        yield body_bytes(records)
        left -= records


def _correction(dice: random.Random, at: float, school: int) -> Sending:
    return Sending(at, school, "correction", body_bytes(dice.randint(*CORRECTED)))


@cache
def body_bytes(records: int) -> int:
    """The bytes of a body with so many marks as an agent sends it: compressed when that gains something."""
    plain = plain_bytes(records)
    return plain if plain < COMPRESS_FROM else len(encode(_record_set(records), compress=True))


def plain_bytes(records: int) -> int:
    """The bytes before compression."""
    return len(encode(_record_set(records)))


def _record_set(records: int) -> RecordSet:
    return RecordSet(standard="2026.1", records={"attendance_mark": _marks(records)})


def _marks(number: int) -> list[dict[str, Any]]:
    """Invented marks of invented pupils: as unlike one another as real ones."""
    dice = random.Random(number)  # noqa: S311 - invented pupils
    return [
        {
            "school": "990001",
            "upn": f"{dice.choice('ABCDEFGHJKLMNPQRTUVWXYZ')}990{dice.randrange(10**9):09d}",
            "date": "2026-09-14",
            "session": "AM",
            "code": "/" if dice.random() < 0.92 else dice.choice("LINMO"),
            "valid_from": "2026-09-14",
            "version": 1_789_372_800_000 + dice.randrange(10**6),
        }
        for _ in range(number)
    ]
