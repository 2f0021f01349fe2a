"""People in columns: every text once in a vocabulary, every record a row of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from commonroom.registers.learners.matching import normalise as plain
from commonroom.registers.learners.matching.compare import district
from commonroom.registers.learners.matching.parameters import Frequencies, parameters, table_frequencies
from commonroom.registers.learners.matching.people import Details, Known
from commonroom.registers.learners.matching.phonetics import soundex

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
HOWS = ("current", "former", "previous")
MIDDLES = plain.MOST_MIDDLE_NAMES
POSTCODE_LETTERS = 9


class Vocabulary:
    """Each text has one number, 0 for none. What is computed of a text is computed once."""

    def __init__(self, frequencies: Frequencies | None = None) -> None:
        self.frequencies = frequencies or table_frequencies()
        self.texts: list[str] = [""]
        self._codes: dict[str, int] = {"": 0}
        self._derived: dict[str, tuple[int, NDArray[Any]]] = {}
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
        return np.fromiter(map(self.code, texts), np.int64)

    def derived(self, name: str, make: Callable[[str], float], kind: Any, wanted: Ints) -> NDArray[Any]:
        """`make` of every text among `wanted` (others may be unset), by number."""
        done, values = self._derived.get(name, (0, np.zeros(0, kind)))
        if done < len(self.texts):
            values = np.concatenate([values, np.full(len(self.texts) - done, _UNSET, kind)])
            self._derived[name] = (len(self.texts), values)
        missing = np.unique(wanted)
        missing = missing[values[missing] == _UNSET]
        texts = self.texts
        values[missing] = [make(texts[code]) for code in missing.tolist()]
        return values

    def rarity(self, kind: str, wanted: Ints) -> Floats:
        """What agreement on a name is worth, by number."""
        return self.derived(
            f"rarity {kind}", lambda text: self.frequencies.rarity(kind, text), np.float64, wanted
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

    def soundex(self, wanted: Ints) -> Ints:
        """Soundex as a number, by number; 0 for none."""
        return self.derived("soundex", soundex_number, np.int64, wanted)

    def district(self, wanted: Ints) -> Ints:
        """The number of the district of a postcode, by number."""
        return self.derived("district", lambda text: self.code(district(text)), np.int64, wanted)


_UNSET = -99_999


def soundex_number(text: str) -> int:
    """Soundex as one number of at most 26,999."""
    sound = soundex(text)
    return (ord(sound[0]) - 64) * 1000 + int(sound[1:]) if sound else 0


class Histories(msgspec.Struct, frozen=True):
    """Values of which a record has several: row i has `codes[start[i]:start[i + 1]]`, current first."""

    start: Ints
    codes: Ints

    def count(self, rows: Ints) -> Ints:
        """How many each row has."""
        return self.start[rows + 1] - self.start[rows]


class Table(msgspec.Struct, frozen=True):
    """Records as given: of each field of `Details` its different values and each row's place among them.

    Histories are (row, value) pairs in any order: names as (row, given, family).
    """

    size: int
    fields: Mapping[str, tuple[Sequence[str | None], Ints]]
    former_names: Sequence[tuple[int, str, str]] = ()
    former_postcodes: Sequence[tuple[int, str]] = ()
    former_upns: Sequence[tuple[int, str]] = ()


class People(msgspec.Struct, frozen=True):
    """Prepared records in columns: what `normalise` makes of each, as numbers of one vocabulary."""

    vocabulary: Vocabulary
    size: int
    # Every name of every person: `names.codes` counts from 0 and is the place in the three columns behind it.
    names: Histories
    given: Ints
    family: Ints
    family_whole: Ints
    how: Ints
    whole_given: Ints
    preferred: Ints
    middle: NDArray[np.int64]
    year: Ints
    month: Ints
    day: Ints
    gender: Ints
    postcodes: Histories
    upns: Histories
    email: Ints
    house: Ints
    town: Ints
    place_of_birth: Ints
    school_at_16: Ints


FIELDS = tuple(field for field in Details.__struct_fields__)


def table_of(records: Sequence[Details]) -> Table:
    """Records as a table."""
    fields: dict[str, tuple[Sequence[str | None], Ints]] = {}
    for name in FIELDS:
        places: dict[str | None, int] = {}
        column = np.fromiter(
            (places.setdefault(getattr(record, name), len(places)) for record in records),
            np.int64,
            len(records),
        )
        fields[name] = (list(places), column)
    return Table(len(records), fields)


def table_of_known(known: Sequence[Known]) -> Table:
    """Registered persons as a table, with their histories."""
    return msgspec.structs.replace(
        table_of([one.details for one in known]),
        former_names=[(row, *name) for row, one in enumerate(known) for name in one.former_names],
        former_postcodes=[(row, text) for row, one in enumerate(known) for text in one.former_postcodes],
        former_upns=[(row, text) for row, one in enumerate(known) for text in one.former_upns],
    )


def people_of(table: Table, vocabulary: Vocabulary) -> People:
    """What `normalise` makes of a table: each different value once."""
    made = _Maker(table, vocabulary)
    names = made.names()
    birth = made.birth()
    return People(
        vocabulary=vocabulary,
        size=table.size,
        names=names[0],
        given=names[1],
        family=names[2],
        family_whole=made.mapped(names[2], lambda text: text.replace(" ", "")),
        how=names[3],
        whole_given=made.mapped(made.given, lambda text: text.replace(" ", "")),
        preferred=made.text("preferred_given_name", lambda text: plain.fold(text).partition(" ")[0]),
        middle=made.middle(),
        year=birth[0],
        month=birth[1],
        day=birth[2],
        gender=made.text("gender", lambda text: text if text in ("1", "2") else ""),
        postcodes=made.history("postcode", plain.postcode, table.former_postcodes),
        upns=made.history("upn", plain.upn, table.former_upns),
        email=made.text("email", lambda text: (text or "").strip().lower()),
        house=made.text("house", plain.address_line),
        town=made.text("town", plain.compact),
        place_of_birth=made.text("place_of_birth", plain.compact),
        school_at_16=made.text("school_at_16", plain.compact),
    )


class _Maker:
    """The columns of one table."""

    def __init__(self, table: Table, vocabulary: Vocabulary) -> None:
        self.table, self.vocabulary = table, vocabulary
        given, family = self.text("given_name", plain.fold), self.text("family_name", plain.fold)
        # Somebody's only name, in either field or in both, is the family name.
        alone = family == 0
        self.family = np.where(alone, given, family)
        self.given = np.where(alone | (given == family), 0, given)

    def text(self, field: str, make: Callable[[str | None], str]) -> Ints:
        """A column of numbers of `make` of each value."""
        values, places = self.table.fields.get(field, ((None,), np.zeros(self.table.size, np.int64)))
        return self.vocabulary.codes(make(value) for value in values)[places]

    def mapped(self, codes: Ints, make: Callable[[str], str]) -> Ints:
        """`make` of each text of a column."""
        different, places = np.unique(codes, return_inverse=True)
        texts = self.vocabulary.texts
        return self.vocabulary.codes([make(texts[code]) for code in different.tolist()])[places]

    def names(self) -> tuple[Histories, Ints, Ints, Ints]:
        """Current, former and previous names, as `normalise` orders them."""
        rows = [np.arange(self.table.size)]
        given = [self.mapped(self.given, lambda text: text.partition(" ")[0])]
        family, hows = [self.family], [np.zeros(self.table.size, np.int64)]
        former = [(row, *plain.named(first, last)) for row, first, last in self.table.former_names]
        rows.append(np.array([row for row, _, _ in former], np.int64))
        given.append(self.vocabulary.codes(first.partition(" ")[0] for _, first, _ in former))
        family.append(self.vocabulary.codes(last for _, _, last in former))
        hows.append(np.full(len(former), HOWS.index("former")))
        previous = self.text("previous_family_name", plain.fold)
        held = np.flatnonzero((previous != 0) & (previous != self.family))
        rows.append(held)
        given.append(given[0][held])
        family.append(previous[held])
        hows.append(np.full(len(held), HOWS.index("previous")))
        owner = np.concatenate(rows)
        order = np.argsort(owner, kind="stable")
        history = Histories(_starts(owner, self.table.size), np.arange(len(owner)))
        columns = [np.concatenate(column)[order] for column in (given, family, hows)]
        return history, columns[0], columns[1], columns[2]

    def middle(self) -> NDArray[np.int64]:
        """The first middle names: what stands behind the first given name, then the middle names."""
        rest = self.mapped(self.given, lambda text: text.partition(" ")[2])
        names = self.text("middle_names", plain.fold)
        together = self.vocabulary.texts
        different, places = np.unique(np.stack([rest, names]), axis=1, return_inverse=True)
        split = np.zeros((different.shape[1], MIDDLES), np.int64)
        for place, (one, other) in enumerate(different.T.tolist()):
            words = f"{together[one]} {together[other]}".split()[:MIDDLES]
            split[place, : len(words)] = self.vocabulary.codes(words)
        return split[places]

    def birth(self) -> NDArray[np.int64]:
        """Year, month and day."""
        values, places = self.table.fields["date_of_birth"]
        return np.array([plain.birth_date(value) for value in values], np.int64).reshape(-1, 3).T[:, places]

    def history(
        self, field: str, make: Callable[[str | None], str], former: Sequence[tuple[int, str]]
    ) -> Histories:
        """Current and former values, without repeats and without none."""
        current = self.text(field, make)
        rows = np.concatenate([np.arange(self.table.size), np.array([row for row, _ in former], np.int64)])
        codes = np.concatenate([current, self.vocabulary.codes(make(text) for _, text in former)])
        kept = np.flatnonzero(codes)
        rows, codes = rows[kept], codes[kept]
        if len(former):
            _, first = np.unique(np.stack([rows, codes]), axis=1, return_index=True)
            first.sort()
            rows, codes = rows[first], codes[first]
            order = np.argsort(rows, kind="stable")
            rows, codes = rows[order], codes[order]
        return Histories(_starts(rows, self.table.size), codes)


def _starts(owners: Ints, size: int) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owners, minlength=size))])


def frequencies_of(people: People) -> Frequencies:
    """How often the current names of a register are borne in it."""
    texts = people.vocabulary.texts
    first = people.names.start[:-1]
    given, family = people.given[first], people.family[first]
    pairs, counts = np.unique((given << 32) | family, return_counts=True)
    often = counts >= parameters().together_at_least
    return Frequencies(
        _counted(texts, given),
        _counted(texts, family),
        {
            (texts[pair >> 32], texts[pair & 0xFFFFFFFF]): count
            for pair, count in zip(pairs[often].tolist(), counts[often].tolist(), strict=True)
        },
        people.size,
    )


def _counted(texts: Sequence[str], codes: Ints) -> dict[str, int]:
    different, counts = np.unique(codes, return_counts=True)
    return {
        texts[code]: count for code, count in zip(different.tolist(), counts.tolist(), strict=True) if code
    }
