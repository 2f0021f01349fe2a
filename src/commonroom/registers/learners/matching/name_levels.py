"""Pairs of names in columns: at which level they agree and what it weighs, as `compare.given_level`, `family_level` and
`name_bits` say; and, from the letters alone, the most that they can weigh."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA, JaroWinkler
from rapidfuzz.process import cpdist

from commonroom.registers.learners.matching import compare
from commonroom.registers.learners.matching.parameters import Level, names, parameters
from commonroom.registers.learners.matching.spelling_columns import Likeness
from commonroom.registers.learners.matching.vocabulary import Bools, Floats, Ints, Vocabulary

NAME = (
    "missing",
    "exact",
    "variant",
    "typo",
    "other",
    "initial",
    "similar",
    "disagree",
    "part",
    "swapped",
    "middle",
)
Small = NDArray[np.int8]
_COMPARE: dict[str, Callable[[str, str], str]] = {
    "given": compare.given_level,
    "family": compare.family_level,
}
# Endings that a Czech or Slovak woman's name has beyond the man's, and the least length of his.
_WOMANS, _LEAST_MANS = ("ova", "eva"), 4


class NameLevels:
    """Given names, or family names."""

    def __init__(self, vocabulary: Vocabulary, kind: str) -> None:
        self._vocabulary, self._kind = vocabulary, kind
        scales = parameters().given if kind == "given" else parameters().family
        self._exact: float = scales.exact.bits
        self._rarest = float(-np.log2(scales.rarest))
        self._base = np.array([_base(scales, level) for level in NAME])
        self._by_rarity = np.array(
            [_base(scales, level) != 0.0 and getattr(scales, level).u is None for level in NAME]
        )

    def prepare(self, codes: Ints) -> None:
        """Work out all that will be asked of these names."""
        vocabulary = self._vocabulary
        vocabulary.rarity(self._kind, codes)
        vocabulary.letters(codes)
        self._in_use(codes)
        self._one_sound(codes, codes)
        self._related(codes, codes)

    def of(self, one: Ints, other: Ints) -> tuple[Small, Floats]:
        """Levels and weights of pairs of names, by their numbers."""
        levels = np.zeros(len(one), np.int8)
        named = (one != 0) & (other != 0)
        levels[named & (one == other)] = NAME.index("exact")
        open_ = np.flatnonzero(named & (one != other))
        # Each pair once; a pair and its mirror image are one.
        low, high = np.minimum(one[open_], other[open_]), np.maximum(one[open_], other[open_])
        different, places = np.unique((low << 32) | high, return_inverse=True)
        levels[open_] = self._compared(different >> 32, different & 0xFFFFFFFF)[places]
        bits = self._base[levels]
        counted = np.flatnonzero(self._by_rarity[levels])
        rarity = self._vocabulary.rarity
        bits[counted] += np.minimum(rarity(self._kind, one[counted]), rarity(self._kind, other[counted]))
        self._weigh_parts(levels, bits, one, other)
        return levels, bits

    def _compared(self, one: Ints, other: Ints) -> Small:
        levels = np.full(len(one), NAME.index("disagree"), np.int8)
        likeness = Likeness(self._vocabulary.letters(one), self._vocabulary.letters(other))
        texts, judge = self._vocabulary.texts, _COMPARE[self._kind]
        for place in np.flatnonzero(likeness.odd).tolist():
            levels[place] = NAME.index(judge(texts[one[place]], texts[other[place]]))
        alike = np.flatnonzero(likeness.may_be_alike() & ~likeness.odd)
        levels[alike] = self._spelling(one[alike], other[alike])
        related = np.flatnonzero(~likeness.odd)
        related = related[self._related(one[related], other[related])]
        levels[related] = NAME.index("variant")
        return levels

    def _spelling(self, one: Ints, other: Ints) -> Small:
        """As `compare` tells one sound, a slip of the pen, or two names."""
        texts = self._vocabulary.texts
        levels = np.full(len(one), NAME.index("disagree"), np.int8)
        left, right = [texts[code] for code in one.tolist()], [texts[code] for code in other.tolist()]
        if not left:
            return levels
        alike = cpdist(
            left,
            right,
            scorer=JaroWinkler.similarity,
            score_cutoff=compare.LEAST_LIKENESS,
            dtype=np.float64,
        )
        levels[alike >= compare.SIMILAR] = NAME.index("similar")
        slips = cpdist(left, right, scorer=OSA.distance, score_cutoff=2, dtype=np.int64)
        shorter = np.minimum([len(text) for text in left], [len(text) for text in right])
        allowed = (shorter >= 4).astype(np.int64) + (shorter >= 8)
        typo = (alike > 0) & (allowed > 0) & (slips <= allowed)
        typo &= ~(self._in_use(one) & self._in_use(other))
        levels[typo] = NAME.index("typo")
        held = np.flatnonzero(alike > 0)
        levels[held[self._one_sound(one[held], other[held])]] = NAME.index("variant")
        return levels

    def _in_use(self, codes: Ints) -> Bools:
        known, least, kind = names(), parameters().guards.in_use, self._kind
        values = self._vocabulary.each(
            f"in use {kind}",
            lambda texts: [known.in_use(kind, text, least) for text in texts],
            np.float64,
            codes,
        )
        return values > 0

    def _one_sound(self, one: Ints, other: Ints) -> Bools:
        vocabulary = self._vocabulary
        same: Bools = vocabulary.sound(one) == vocabulary.sound(other)
        if self._kind == "family":
            same |= vocabulary.family_form(one) == vocabulary.family_form(other)
            same |= (self._mans_name(one) == other) | (self._mans_name(other) == one)
        return same

    def _mans_name(self, codes: Ints) -> Ints:
        """The name to which a woman's adds an ending; -1 for none."""

        def mans(text: str) -> int:
            has = text.endswith(_WOMANS) and len(text) >= len(_WOMANS[0]) + _LEAST_MANS
            return self._vocabulary.code(text[: -len(_WOMANS[0])]) if has else -1

        return self._vocabulary.each(
            "man's name", lambda texts: [mans(text) for text in texts], np.int64, codes
        )

    def _related(self, one: Ints, other: Ints) -> Bools:
        """Whether the table holds the two as forms of one name."""
        found = self._in_group(one) & self._in_group(other)
        places = np.flatnonzero(found)
        if not len(places):
            return found
        keys = self._vocabulary.pairs(f"related {self._kind}", lambda: _related_names(self._kind))
        low, high = np.minimum(one[places], other[places]), np.maximum(one[places], other[places])
        wanted = (low << 32) | high
        found[places] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
        return found

    def _in_group(self, codes: Ints) -> Bools:
        groups = names().groups[self._kind]
        held = self._vocabulary.each(
            f"in a group {self._kind}",
            lambda texts: [text in groups for text in texts],
            np.float64,
            codes,
        )
        in_group: Bools = held > 0
        return in_group

    def _weigh_parts(self, levels: Small, bits: Floats, one: Ints, other: Ints) -> None:
        texts = self._vocabulary.texts
        for place in np.flatnonzero(levels == NAME.index("part")).tolist():
            bits[place] = compare.name_bits(
                self._vocabulary.frequencies, self._kind, "part", texts[one[place]], texts[other[place]]
            )

    def exact_bits(self, codes: Ints) -> Floats:
        """What agreement on each name weighs."""
        return self._exact + self._vocabulary.rarity(self._kind, codes)

    def form_bits(self, form: str, one: Ints, other: Ints) -> Floats:
        """What a form of a name weighs: by the commoner of the two."""
        rarity = self._vocabulary.rarity
        bits = float(self._base[NAME.index(form)])
        return bits + np.minimum(rarity(self._kind, one), rarity(self._kind, other))

    def most_bits(self, one: Ints, other: Ints) -> Floats:
        """No level of these two can weigh more, one by another form of the name (`other`, `middle`) apart."""
        rarity = self._vocabulary.rarity
        mine, yours = rarity(self._kind, one), rarity(self._kind, other)
        commoner = np.minimum(mine, yours)
        likeness = Likeness(self._vocabulary.letters(one), self._vocabulary.letters(other))
        base = self._base
        least = base[NAME.index("disagree")]
        similar = max(least, base[NAME.index("similar")])
        bits = np.where(likeness.may_be_similar(), similar, least)
        near = likeness.may_be_alike() | self._related(one, other)
        form = max(base[NAME.index("variant")], base[NAME.index("typo")]) + commoner
        bits[near] = np.maximum(bits, form)[near]
        # Of double names and initials nothing is known yet; the name that two double names share may be the rarest.
        loosest = np.maximum(self._exact + commoner, max(similar, base[NAME.index("initial")]))
        if self._kind == "family":
            loosest = np.maximum(loosest, base[NAME.index("part")] + self._rarest)
        bits[likeness.odd] = loosest[likeness.odd]
        bits = np.where(one == other, self._exact + mine, bits)
        return np.where((one == 0) | (other == 0), 0.0, bits)


def _related_names(kind: str) -> list[tuple[str, str]]:
    """Every two forms of one name that the table holds."""
    members: dict[int, list[str]] = {}
    for name, groups in names().groups[kind].items():
        for group in groups:
            members.setdefault(group, []).append(name)
    return [pair for group in members.values() for pair in combinations(group, 2)]


def _base(scales: object, level: str) -> float:
    found = getattr(scales, level, None)
    return found.bits if isinstance(found, Level) else 0.0
