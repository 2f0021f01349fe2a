"""Words that people may have meant: those of the register that are a slip or two of the pen away.

The register's vocabulary is small (15,000 words for all schools of England), so every word of it is measured: with the
compiled distances of rapidfuzz that is faster than asking an index of trigrams for candidates first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

CHOICES = 6
SHORTEST = 3  # letters of a word that may stand for another
# Words that the register writes in a short form, so they are in no name of it; whoever misspells one means it all the same.
LONG_FORMS = ("saint", "church", "england")


class Near(msgspec.Struct, frozen=True):
    """A word as typed, whether words of the register begin with it, and those that are near."""

    word: str
    known: bool
    others: tuple[str, ...]

    @property
    def best(self) -> str:
        """The word while it is known, else the nearest."""
        return self.word if self.known or not self.others else self.others[0]

    def query(self, *, every: bool) -> str:
        """As part of a tsquery: the word while it is known, the others where it is not, or with `every` all of them."""
        parts = [f"{self.word}:*"] if self.known or not self.others else []
        if every or not parts:
            parts += self.others
        return f"({' | '.join(parts)})"


# $2 and $3 are the lengths of words that can be near any of these.
_WORDS = """
SELECT coalesce(array_agg(word), '{}') FROM providers.word WHERE length(word) BETWEEN $1 AND $2
"""

_KNOWN = """
SELECT asked.word
FROM unnest($1::text[]) AS asked (word)
WHERE EXISTS (
    SELECT FROM providers.word AS w
    WHERE w.word >= asked.word COLLATE "C" AND w.word < (asked.word || '~') COLLATE "C"
)
"""


async def near(conn: Any, words: Sequence[str]) -> list[Near]:
    """Each word with what it may have been meant to be; numbers and very short words stay as they are."""
    asked = [word for word in words if word.isalpha() and len(word) >= SHORTEST]
    if not asked:
        return [Near(word, True, ()) for word in words]
    lengths = [len(word) for word in asked]
    known = {row["word"] for row in await conn.fetch(_KNOWN, asked)}
    known |= set(LONG_FORMS)
    vocabulary = [*await conn.fetchval(_WORDS, min(lengths) - 3, max(lengths) + 3), *LONG_FORMS]
    return [
        Near(word, word in known, nearest(word, vocabulary)) if word in asked else Near(word, True, ())
        for word in words
    ]


def nearest(word: str, vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Words no more slips away than a word of this length has, nearest first; a swap of neighbours is one slip."""
    allowed = 1 if len(word) < 6 else 2 if len(word) < 11 else 3
    found = process.extract(
        word, vocabulary, scorer=OSA.distance, processor=None, score_cutoff=allowed, limit=CHOICES + 1
    )
    return tuple(other for other, _, _ in found if other != word)[:CHOICES]


def likeness(typed: str, name: str) -> float:
    """How like two texts are, 0 to 100, whatever the order of their words."""
    return fuzz.token_sort_ratio(typed, name)
