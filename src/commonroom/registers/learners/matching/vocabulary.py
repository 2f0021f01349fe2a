"""Texts as numbers: each text has one, and what is computed of a text is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from commonroom.registers.learners.matching.compare import district
from commonroom.registers.learners.matching.parameters import Frequencies, table_frequencies
from commonroom.registers.learners.matching.phonetics import family_form, sound
from commonroom.registers.learners.matching.spelling_columns import letters, packed, soundex_numbers

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_UNSET = -99_999
_LEAST_ROOM = 1024


class Vocabulary:
    """The texts of people in columns, 0 for none, and the register's frequencies of names."""

    def __init__(self, frequencies: Frequencies | None = None) -> None:
        self.frequencies = frequencies or table_frequencies()
        self.texts: list[str] = [""]
        self._codes: dict[str, int] = {"": 0}
        self._read: dict[str, dict[str | None, int]] = {}
        self._derived: dict[str, NDArray[Any]] = {}
        self._pairs: dict[str, Ints] = {}
        self._lifts: tuple[Ints, Floats] | None = None

    def code(self, text: str) -> int:
        """The number of a text."""
        found = self._codes.get(text)
        if found is None:
            found = self._codes[text] = len(self.texts)
            self.texts.append(text)
        return found

    def codes(self, texts: Iterable[str]) -> Ints:
        """The numbers of texts."""
        known, code = self._codes, self.code
        return np.array([known[text] if text in known else code(text) for text in texts], np.int64)

    def read(self, what: str, make: Callable[[str | None], str], values: Sequence[str | None]) -> Ints:
        """The numbers of `make` of values as given; what was read before is not made again."""
        known = self._read.setdefault(what, {})
        for value in [value for value in values if value not in known]:
            known[value] = self.code(make(value))
        return np.array([known[value] for value in values], np.int64)

    def each(self, name: str, make: Callable[[list[str]], Any], kind: Any, codes: Ints) -> NDArray[Any]:
        """What `make` says of each text, by their numbers. `name` stands for `make`."""
        values = self._derived.get(name)
        if values is None or len(values) < len(self.texts):
            values = self._derived[name] = self._grown(values, kind)
        found: NDArray[Any] = values[codes]
        missing = found == _UNSET
        if missing.any():
            wanted = np.unique(codes[missing])
            texts = self.texts
            values[wanted] = make([texts[code] for code in wanted.tolist()])
            found = values[codes]
        return found

    def _grown(self, values: NDArray[Any] | None, kind: Any) -> NDArray[Any]:
        """Room for twice the texts there are, so that a batch seldom has to make more."""
        grown = np.full(max(2 * len(self.texts), _LEAST_ROOM), _UNSET, kind)
        if values is not None:
            grown[: len(values)] = values
        return grown

    def text_of(self, name: str, make: Callable[[str], str], codes: Ints) -> Ints:
        """The number of what `make` makes of each text."""
        return self.each(name, lambda texts: self.codes(map(make, texts)), np.int64, codes)

    def pairs(self, name: str, make: Callable[[], Iterable[tuple[str, str]]]) -> Ints:
        """Pairs of texts as sorted keys, the lower number in front. `name` stands for `make`."""
        keys = self._pairs.get(name)
        if keys is None:
            found = np.array([(self.code(one), self.code(other)) for one, other in make()], np.int64)
            found = np.sort(found.reshape(-1, 2), axis=1)
            keys = self._pairs[name] = np.unique((found[:, 0] << 32) | found[:, 1])
        return keys

    def rarity(self, kind: str, codes: Ints) -> Floats:
        """What agreement on each name is worth."""
        rarity = self.frequencies.rarity
        return self.each(
            f"rarity {kind}", lambda texts: [rarity(kind, text) for text in texts], np.float64, codes
        )

    def together(self, given: Ints, family: Ints) -> Floats:
        """What agreement on both names tells less than on each."""
        if self._lifts is None:
            pairs = list(self.frequencies.lifts.items())
            keys = np.array(
                [(self.code(one) << 32) | self.code(other) for (one, other), _ in pairs], np.int64
            )
            order = np.argsort(keys)
            self._lifts = keys[order], np.array([lift for _, lift in pairs], np.float64)[order]
        keys, lifts = self._lifts
        if not len(keys):
            return np.zeros(len(given))
        wanted = (given << 32) | family
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, lifts[place], 0.0)

    def soundex(self, codes: Ints) -> Ints:
        """Soundex as a number; 0 for none."""
        return self.each("soundex", soundex_numbers, np.int64, codes)

    def sound(self, codes: Ints) -> Ints:
        """How a name sounds."""
        return self.text_of("sound", sound, codes)

    def family_form(self, codes: Ints) -> Ints:
        """The form of a family name that men and women share."""
        return self.text_of("family form", family_form, codes)

    def letters(self, codes: Ints) -> Ints:
        """The letters of a name (`spelling_columns`)."""
        return self.each("letters", letters, np.int64, codes)

    def whole(self, codes: Ints) -> Ints:
        """A name without spaces."""
        return self.text_of("whole", lambda text: text.replace(" ", ""), codes)

    def first_word(self, codes: Ints) -> Ints:
        """The first word of a name."""
        return self.text_of("first word", lambda text: text.partition(" ")[0], codes)

    def other_words(self, codes: Ints) -> Ints:
        """A name without its first word."""
        return self.text_of("other words", lambda text: text.partition(" ")[2], codes)

    def district(self, codes: Ints) -> Ints:
        """The district of a postcode."""
        return self.text_of("district", district, codes)

    def packed(self, codes: Ints) -> Ints:
        """The letters of a postcode in one number."""
        return self.each("packed", packed, np.int64, codes)
