"""How a person's details come to be written: moves, new names, variants, and slips of who types."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from learners_bench import people

if TYPE_CHECKING:
    from learners_bench.population import Population

Ints = NDArray[np.int64]
Words = NDArray[np.object_]

MOVES, NAME_CHANGES, MISSING_POSTCODE = 0.22, 0.04, 0.035
SAYS_PREVIOUS_NAME = 0.5
MOVES_IN_THE_DISTRICT = 0.3
KEYS = {
    "a": "qs", "e": "wr", "i": "uo", "o": "ip", "u": "yi", "n": "bm", "m": "n", "s": "ad", "r": "et", "t": "ry",
    "l": "k", "d": "sf",
}  # fmt: skip
# Ways in which one name is written; applied to what the lists do not hold.
RESPELL = (
    ("ou", "u"), ("ee", "i"), ("mm", "m"), ("oo", "u"), ("y", "ie"), ("ah", "a"), ("ie", "y"), ("ph", "f"), ("k", "c"),
    ("c", "k"), ("ss", "s"), ("ll", "l"), ("i", "y"), ("q", "k"), ("w", "v"), ("a", "ah"), ("u", "ou"),
)  # fmt: skip


class Typist:
    """Writes records of persons."""

    def __init__(
        self, population: Population, lists: people.Lists, random: np.random.Generator, *, optional: bool
    ) -> None:
        self._population, self._lists, self._random = population, lists, random
        self._optional = optional

    def registration(self, rows: Ints) -> dict[str, Words]:
        """What is registered: mostly as it is, a few without a postcode, a few slips."""
        words = self._as_they_are(rows)
        self._some(words["postcode"], 0.02, lambda _: None)
        self._some(words["given_name"], 0.004, self._slip)
        self._some(words["family_name"], 0.004, self._slip)
        self._some(words["date_of_birth"], 0.002, self._other_digit)
        return words

    def later(self, rows: Ints) -> dict[str, Words]:
        """What comes in years later from somebody else."""
        words = self._as_they_are(rows)
        self._move(words)
        self._rename(words, rows)
        self._some(words["postcode"], MISSING_POSTCODE, lambda _: None)
        self._some(words["given_name"], 0.035, self._given_variant)
        self._some(words["family_name"], 0.012, self._family_variant)
        self._some(words["given_name"], 0.02, self._slip)
        self._some(words["family_name"], 0.025, self._slip)
        self._some(words["postcode"], 0.015, lambda text: self._slip(text) if text else text)
        self._some(words["date_of_birth"], 0.012, self._turned)
        self._some(words["date_of_birth"], 0.012, self._other_digit)
        self._some(words["gender"], 0.004, lambda sex: "2" if sex == "1" else "1")
        self._some(words["gender"], 0.006, lambda _: "0")
        swapped = np.flatnonzero(self._chance(len(rows), 0.004))
        words["given_name"][swapped], words["family_name"][swapped] = (
            words["family_name"][swapped].copy(),
            words["given_name"][swapped].copy(),
        )
        has_middle = np.array([name is not None for name in self._population.middle[rows]])
        goes_by_middle = np.flatnonzero(self._chance(len(rows), 0.005) & has_middle)
        words["given_name"][goes_by_middle] = self._population.middle[rows][goes_by_middle]
        return words

    def _as_they_are(self, rows: Ints) -> dict[str, Words]:
        held = self._population
        words = {
            "given_name": held.given[rows].copy(),
            "family_name": held.family[rows].copy(),
            "date_of_birth": held.born[rows].copy(),
            "gender": held.gender[rows].copy(),
            "postcode": held.postcode[rows].copy(),
            "previous_family_name": np.full(len(rows), None, object),
        }
        if self._optional:
            for name, column, share in (
                ("middle_names", held.middle, 0.6),
                ("email", held.email, 0.5),
                ("house", held.house, 0.7),
                ("upn", held.upn, 0.25),
                ("place_of_birth", held.place, 0.4),
                ("school_at_16", held.school, 0.4),
            ):
                words[name] = np.where(self._chance(len(rows), share), column[rows], None)
        return words

    def _chance(self, count: int, share: float) -> NDArray[np.bool_]:
        return self._random.random(count) < share

    def _some(self, words: Words, share: float, change: Callable[[str], str | None]) -> None:
        for place in np.flatnonzero(self._chance(len(words), share)).tolist():
            words[place] = change(words[place])

    def _move(self, words: dict[str, Words]) -> None:
        codes = self._population.postcodes
        moved = np.flatnonzero(self._chance(len(words["postcode"]), MOVES))
        places = self._random.integers(0, len(codes), len(moved))
        near = self._chance(len(moved), MOVES_IN_THE_DISTRICT)
        # Postcodes are in order: neighbours in the list are neighbours in the district.
        here = np.searchsorted(codes.astype(str), words["postcode"][moved].astype(str))
        close = np.clip(here + self._random.integers(-40, 41, len(moved)), 0, len(codes) - 1)
        words["postcode"][moved] = codes[np.where(near, close, places)]
        if self._optional:
            words["house"][moved] = [
                f"{number} New Street" for number in self._random.integers(1, 200, len(moved)).tolist()
            ]

    def _rename(self, words: dict[str, Words], rows: Ints) -> None:
        chance = np.where(words["gender"] == "2", NAME_CHANGES * 1.6, NAME_CHANGES * 0.4)
        for place in np.flatnonzero(self._random.random(len(rows)) < chance).tolist():
            old = words["family_name"][place]
            new = self._lists.family[self._population.group[rows[place]]].draw(self._random, 1)[0]
            way = self._random.random()
            words["family_name"][place] = (
                f"{old}-{new}" if way < 0.15 else old.split("-")[0] if "-" in old else new
            )
            if self._random.random() < SAYS_PREVIOUS_NAME:
                words["previous_family_name"][place] = old

    def _given_variant(self, name: str) -> str:
        others = self._lists.given_variants.get(name.lower())
        if others is not None and self._random.random() < 0.7:
            return str(others.draw(self._random, 1)[0]).capitalize()
        return self._respelt(name)

    def _family_variant(self, name: str) -> str:
        others = self._lists.family_variants.get(name.lower())
        return (
            str(others.draw(self._random, 1)[0]).capitalize() if others is not None else self._respelt(name)
        )

    def _respelt(self, name: str) -> str:
        ways = [(one, other) for one, other in RESPELL if one in name[1:]]
        if not ways:
            return self._slip(name)
        one, other = ways[int(self._random.integers(0, len(ways)))]
        return name[0] + name[1:].replace(one, other, 1)

    def _slip(self, text: str) -> str:
        """One letter lost, doubled, mistaken or out of place."""
        if len(text) < 3:
            return text
        place = int(self._random.integers(1, len(text) - 1))
        way = self._random.random()
        if way < 0.3:
            return text[:place] + text[place + 1 :]
        if way < 0.5:
            return text[:place] + text[place] + text[place:]
        if way < 0.75:
            near = KEYS.get(text[place].lower(), "aeinrst")
            return text[:place] + near[int(self._random.integers(0, len(near)))] + text[place + 1 :]
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]

    def _turned(self, date: str) -> str:
        """Day and month in each other's place, where that is a date."""
        year, month, day = date.split("-")
        return f"{year}-{day}-{month}" if int(day) <= 12 else date

    def _other_digit(self, date: str) -> str:
        year, month, day = (int(part) for part in date.split("-"))
        way = self._random.random()
        if way < 0.25:
            year += int(self._random.choice([-1, 1]))
        elif way < 0.45:
            month = month % 12 + 1
        else:
            day = (day + int(self._random.choice([1, 2, 10, 20, 7])) - 1) % 28 + 1
        return f"{year:04d}-{month:02d}-{day:02d}"
