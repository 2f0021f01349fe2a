"""Spelling in columns: Soundex of many names at once, and the letters of each, to tell which cannot be alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from commonroom.registers.learners.matching.compare import LEAST_LIKENESS, SIMILAR

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A name of several words, of one letter or of very many: nothing is known of its letters.
ODD = np.int64(1) << 62
_LETTERS = 26
_OTHERS, _MOST_OTHERS = 52, 4
_LENGTH, _MOST_LENGTH = 56, 63
_ALL_LETTERS = (np.int64(1) << _LENGTH) - 1
_SAME_DIGIT = ("bfpv", "cgjkqsxz", "dt", "l", "mn", "r")
# Jaro-Winkler adds at most this share of what Jaro lacks, and Jaro is a third of three shares.
_WINKLER = 0.4
_LEEWAY = 1e-9
# Postcodes: bits of a letter, and the most letters.
_BITS, POSTCODE_LETTERS = 7, 9


def matrix_of(texts: Sequence[str]) -> NDArray[np.uint8]:
    """The letters of ASCII texts, a row each."""
    held = np.array(texts, "S")
    return held.view(np.uint8).reshape(len(held), -1)


def _digits() -> NDArray[np.int64]:
    digits = np.zeros(256, np.int64)
    for digit, members in enumerate(_SAME_DIGIT, start=1):
        digits[list(members.encode())] = digit
    return digits


_DIGITS = _digits()


def soundex_numbers(texts: Sequence[str]) -> Ints:
    """Soundex of folded names, each as one number of at most 26,999; 0 for none."""
    size = len(texts)
    initial, digits, count, last = (np.zeros(size, np.int64) for _ in range(4))
    for column in matrix_of(texts).T:
        is_letter = (column >= ord("a")) & (column <= ord("z"))
        digit = _DIGITS[column]
        begins = is_letter & (initial == 0)
        told = is_letter & ~begins & (digit != 0) & (digit != last) & (count < 3)
        initial[begins] = column[begins] - (ord("a") - 1)
        digits[told] = digits[told] * 10 + digit[told]
        count += told
        # The same sound on both sides of h or w is one sound.
        turns = begins | (is_letter & (column != ord("h")) & (column != ord("w")))
        last[turns] = digit[turns]
    return np.where(initial > 0, initial * 1000 + digits * 10 ** (3 - count), 0)


def letters(texts: Sequence[str]) -> Ints:
    """Which letters each name has: a bit for each letter, one for each that is there twice, as many as there are
    others, and the length."""
    size = len(texts)
    once, twice, others, length = (np.zeros(size, np.int64) for _ in range(4))
    spaced = np.zeros(size, np.bool_)
    for column in matrix_of(texts).T:
        is_letter = (column >= ord("a")) & (column <= ord("z"))
        bit = np.where(is_letter, np.int64(1) << (column.astype(np.int64) - ord("a") & 31), 0)
        third = (twice & bit) != 0
        twice |= once & bit
        once |= bit
        others += third | (~is_letter & (column != 0))
        length += column != 0
        spaced |= column == ord(" ")
    odd = spaced | (length == 1) | (length > _MOST_LENGTH) | (others > _MOST_OTHERS)
    found = once | (twice << _LETTERS) | (((np.int64(1) << others) - 1) << _OTHERS) | (length << _LENGTH)
    return np.where(odd, ODD, found)


def packed(texts: Sequence[str]) -> Ints:
    """The letters of each postcode in one number, -1 when it is not ASCII."""
    plain = [text.isascii() for text in texts]
    held = np.array(
        [text if is_plain else "" for text, is_plain in zip(texts, plain, strict=True)],
        f"S{POSTCODE_LETTERS}",
    )
    columns = held.view(np.uint8).reshape(len(held), POSTCODE_LETTERS).astype(np.int64)
    return np.where(plain, (columns << (_BITS * np.arange(POSTCODE_LETTERS))).sum(axis=1), -1)


def one_letter_apart(one: Ints, other: Ints) -> Bools:
    """Whether packed postcodes of one length differ in one letter."""
    found = np.zeros(len(one), np.bool_)
    unequal = one ^ other
    for place in range(POSTCODE_LETTERS):
        letter = np.int64(((1 << _BITS) - 1) << (_BITS * place))
        found |= ((unequal & ~letter) == 0) & ((one & letter) != 0) & ((other & letter) != 0)
    found &= unequal != 0
    return found


class Likeness:
    """How alike pairs of names can be at most, by their letters alone."""

    def __init__(self, one: Ints, other: Ints) -> None:
        self.odd: Bools = ((one | other) & ODD) != 0
        mine, yours = (one >> _LENGTH) & _MOST_LENGTH, (other >> _LENGTH) & _MOST_LENGTH
        self._common = np.bitwise_count(one & other & _ALL_LETTERS).astype(np.int64)
        self._shorter, self._longer = np.minimum(mine, yours), np.maximum(mine, yours)
        # Of what Jaro adds up, the two shares of letters in common; the third share is one at most.
        self._shares = self._common * (mine + yours) / np.maximum(mine * yours, 1)

    def may_be_alike(self) -> Bools:
        """Whether the names may have the least likeness that is looked at."""
        found: Bools = self._shares + 1 >= 3 * LEAST_LIKENESS - _LEEWAY
        return found

    def may_be_similar(self) -> Bools:
        """Whether the names may be similar."""
        found: Bools = self._shares + 1 >= 3 * (SIMILAR - _WINKLER) / (1 - _WINKLER) - _LEEWAY
        return found

    def may_be_typo(self) -> Bools:
        """Whether a slip or two may make one name of the other."""
        slips = (self._shorter >= 4).astype(np.int64) + (self._shorter >= 8)
        found: Bools = (slips > 0) & (self._longer - self._common <= slips)
        return found
