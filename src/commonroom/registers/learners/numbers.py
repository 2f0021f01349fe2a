"""Unique Learner Numbers: ten digits that say nothing about who holds them, each given once.

A number is nine digits and a check digit (CBDS 100016). The nine digits are a counter from a sequence of PostgreSQL sent
through a keyed permutation (a Feistel network, walked until it lands among the nine-digit numbers). A permutation never
gives one value twice, so numbers are unique by construction and not by trying; who does not have the key cannot tell
the next number, nor how many were given, from those that they hold. Of 900,000,000 stems 818,181,818 have a check digit;
the counter steps over the others.

The key is a file in the data folder, as the other secrets are. Another key with the same counter could meet numbers
that were given before, so the database remembers the key's fingerprint and no number is given with another one.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from hashlib import blake2s
from pathlib import Path
from typing import Any

from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.registers.learners import codes  # noqa: F401 - registers the problem codes
from commonroom.settings import Settings
from commonroom.standard.identifiers import ULN_PLACEHOLDER, uln_check_digit

TEMPORARY = ULN_PLACEHOLDER  # "not known yet": stands in records, is nobody's, is never given
KEY_BYTES = 32
KEY_FILE = "learner-numbers.key"
FIRST_STEM = 100_000_000
STEMS = 900_000_000
_HALF_BITS = 15  # two halves: 2**30 is the next even power above STEMS, so a walk takes 1.2 steps on average
_HALF = (1 << _HALF_BITS) - 1
_ROUNDS = 6
_MOST_AT_ONCE = 100_000

_DRAW = """
SELECT nextval('learners.uln_counter') AS counter, (SELECT fingerprint FROM learners.numbering) AS fingerprint
FROM generate_series(1, $1)
"""
_FIRST_USE = """
INSERT INTO learners.numbering (fingerprint, first_used_at) VALUES ($1, engines.domain_now())
ON CONFLICT (only_row) DO NOTHING
"""


class Numbers:
    """Gives numbers with one key. Opened once a process: `Numbers.of(settings)`."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise _unusable(f"The key has {len(key)} bytes and not {KEY_BYTES}.")
        self._key = key
        self.fingerprint = hashlib.sha256(b"commonroom learner numbers " + key).digest()[:16]

    @classmethod
    def of(cls, settings: Settings) -> Numbers:
        """With the key of the data folder, made when there is none. Processes that race get the one key.

        Raises Problem CR-210 when the file holds something else.
        """
        path = settings.folder("keys") / KEY_FILE
        if not path.exists():
            _create(path)
        return cls(path.read_bytes())

    def number(self, counter: int) -> str | None:
        """The number of this counter (0 to 899,999,999); None where no number has these nine digits."""
        if not 0 <= counter < STEMS:
            raise ValueError(f"the counter of learner numbers is 0 to {STEMS - 1:,}")
        place = self._permuted(counter)
        while place >= STEMS:  # walking from within stays one to one
            place = self._permuted(place)
        stem = str(FIRST_STEM + place)
        digit = uln_check_digit(stem)
        return None if digit is None else stem + digit

    async def draw(self, conn: Any, count: int) -> list[str]:
        """So many new numbers. They are used up even when the transaction is undone.

        Raises Problem CR-210 when the database's numbers were given with another key.
        """
        found: list[str] = []
        while len(found) < count:
            missing = min(count - len(found), _MOST_AT_ONCE)
            rows = await conn.fetch(_DRAW, missing)
            if rows[0]["fingerprint"] != self.fingerprint:
                await self._claim(conn)
            found += [number for row in rows if (number := self.number(row["counter"])) is not None]
        return found

    async def _claim(self, conn: Any) -> None:
        """Make this the key of a database that has none."""
        await conn.execute(_FIRST_USE, self.fingerprint)
        if await conn.fetchval("SELECT fingerprint FROM learners.numbering") != self.fingerprint:
            raise _unusable("The numbers in this database were given with another key.")

    def _permuted(self, value: int) -> int:
        """A permutation of 30 bits that only the holder of the key can follow."""
        left, right = value >> _HALF_BITS, value & _HALF
        for turn in range(_ROUNDS):
            mixed = blake2s(bytes((turn, right >> 8, right & 255)), key=self._key, digest_size=2).digest()
            left, right = right, left ^ (int.from_bytes(mixed, "big") & _HALF)
        return left << _HALF_BITS | right


def is_uln(text: str) -> bool:
    """Whether this could be somebody's number: right form and check digit, and not the temporary number."""
    if len(text) != len(TEMPORARY) or not text.isascii() or not text.isdigit() or text[0] == "0":
        return False
    return text != TEMPORARY and uln_check_digit(text[:9]) == text[9]


def _create(path: Path) -> None:
    """Write a key whole before it has its name; the first of several processes wins."""
    part = path.with_name(f"{uuid7()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(part, path)
    part.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _unusable(detail: str) -> Problem:
    return Problem(
        "CR-210",
        detail,
        status=503,
        where=f"keys/{KEY_FILE}",
        remedy="Put the file back from its backup. Finding learners works without it; only new numbers wait.",
    )
