"""Unique Pupil Numbers that are right, made without the code under test."""

from __future__ import annotations

_LETTERS = "ABCDEFGHJKLMNPQRTUVWXYZ"


def upn(number: int) -> str:
    """The number-th of them: allocated by one school in one year after another."""
    digits = f"823{2000 + number // 100_000 % 8000:04d}{number // 1000 % 100:02d}{number % 1000:03d}"
    weighed = sum(place * int(digit) for place, digit in enumerate(digits, start=2))
    return f"{_LETTERS[weighed % 23]}{digits}"
