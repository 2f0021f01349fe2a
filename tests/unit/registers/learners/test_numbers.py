"""Learner numbers: right by their check digit, never given twice, meaning nothing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import asyncpg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commonroom.problems import Problem
from commonroom.registers.learners.numbers import KEY_FILE, STEMS, TEMPORARY, Numbers, is_uln
from commonroom.settings import Settings
from commonroom.standard import is_valid

KEYS = st.binary(min_size=32, max_size=32)
COUNTERS = st.integers(0, STEMS - 1)


@given(KEYS, COUNTERS)
@example(bytes(32), 0)
@example(bytes(32), STEMS - 1)
def test_a_number_passes_its_check_digit_and_is_never_the_temporary_one(key: bytes, counter: int) -> None:
    number = Numbers(key).number(counter)
    if number is None:
        return
    digits = [int(digit) for digit in number]
    remainder = sum(weight * digit for weight, digit in zip(range(10, 1, -1), digits, strict=False)) % 11
    assert len(digits) == 10
    assert digits[0] != 0
    assert remainder != 0
    assert digits[9] == 10 - remainder
    assert is_valid("ULN", number)
    assert is_uln(number)
    assert number != TEMPORARY


@settings(max_examples=40)
@given(KEYS, st.lists(COUNTERS, min_size=200, max_size=200, unique=True))
def test_no_two_counters_give_one_number(key: bytes, counters: list[int]) -> None:
    numbers = Numbers(key)
    found = [number for counter in counters if (number := numbers.number(counter))]
    assert len(set(found)) == len(found)


def test_a_run_of_counters_repeats_nothing_misses_one_in_eleven_and_is_in_no_order() -> None:
    numbers = Numbers(b"\x07" * 32)
    found = [numbers.number(counter) for counter in range(11_000)]
    real = [number for number in found if number]
    assert len(set(real)) == len(real)
    assert 900 < found.count(None) < 1_100
    rising = sum(before < after for before, after in itertools.pairwise(real))
    assert 0.47 < rising / len(real) < 0.53
    assert 0.10 < sum(number.startswith("5") for number in real) / len(real) < 0.12


def test_another_key_gives_other_numbers() -> None:
    one, other = Numbers(b"\x01" * 32), Numbers(b"\x02" * 32)
    assert sum(one.number(n) == other.number(n) for n in range(500) if one.number(n)) == 0


@pytest.mark.parametrize("counter", [-1, STEMS])
def test_a_counter_beyond_the_numbers_that_there_are_is_refused(counter: int) -> None:
    with pytest.raises(ValueError, match="899,999,999"):
        Numbers(bytes(32)).number(counter)


@pytest.mark.parametrize(
    "text", ["9999999999", "1026893095", "0123456789", "102689309", "10268930961", "１026893096", ""]
)
def test_what_cannot_be_anybodys_number(text: str) -> None:
    assert not is_uln(text)


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    first, again = Numbers.of(settings), Numbers.of(settings)
    assert first.number(5) == again.number(5)
    file = tmp_path / "keys" / KEY_FILE
    assert file.stat().st_mode & 0o077 == 0
    assert [one.name for one in file.parent.iterdir()] == [KEY_FILE]
    file.write_bytes(b"short")
    with pytest.raises(Problem, match="CR-210"):
        Numbers.of(settings)


async def test_many_who_draw_at_once_never_get_the_same_number(pool: asyncpg.Pool) -> None:
    numbers = Numbers(b"\x05" * 32)

    async def draw(count: int) -> list[str]:
        async with pool.acquire() as conn, conn.transaction():
            return await numbers.draw(conn, count)

    found = [
        number
        for many in await asyncio.gather(*map(draw, [1, 50, 200, 3, 100, 7, 40, 99]))
        for number in many
    ]
    assert len(found) == len(set(found)) == 500
    assert all(map(is_uln, found))


async def test_numbers_are_not_given_with_another_key_than_before(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await Numbers(b"\x05" * 32).draw(conn, 1)
        with pytest.raises(Problem, match="CR-210"):
            await Numbers(b"\x06" * 32).draw(conn, 1)
        assert len(await Numbers(b"\x05" * 32).draw(conn, 3)) == 3
