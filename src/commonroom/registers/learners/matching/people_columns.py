"""People in columns: every record a row of numbers, which stand for the texts of a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from commonroom.registers.learners.matching import normalise as plain
from commonroom.registers.learners.matching.parameters import Frequencies, parameters
from commonroom.registers.learners.matching.people import Details, Known
from commonroom.registers.learners.matching.vocabulary import Ints, Vocabulary

HOWS = ("current", "former", "previous")
MIDDLES = plain.MOST_MIDDLE_NAMES


class Histories(msgspec.Struct, frozen=True):
    """Values of which a record has several: row i has `codes[start[i]:start[i + 1]]`, current first."""

    start: Ints
    codes: Ints
    # The current one of each row, 0 for none, and how many the row with most has.
    first: Ints
    most: int

    @staticmethod
    def of(owners: Ints, codes: Ints, size: int) -> Histories:
        """Codes that stand in the order of their owners."""
        count = np.bincount(owners, minlength=size)
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
        first = np.zeros(size, np.int64)
        held = np.flatnonzero(count)
        first[held] = codes[start[held]]
        return Histories(start, codes, first, int(count.max(initial=0)))

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
    # Of dates that are known whole year, month and day in one number, 0 of others.
    born: Ints
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
        family_whole=vocabulary.whole(names[2]),
        how=names[3],
        whole_given=vocabulary.whole(made.given),
        preferred=vocabulary.first_word(made.text("preferred_given_name", plain.fold)),
        middle=made.middle(),
        year=birth[0],
        month=birth[1],
        day=birth[2],
        born=birth[3],
        gender=made.text("gender", lambda text: text if text in ("1", "2") else ""),
        postcodes=made.history("postcode", plain.postcode, table.former_postcodes),
        upns=made.history("upn", plain.upn, table.former_upns),
        email=made.text("email", lambda text: (text or "").strip().lower()),
        house=made.text("house", plain.address_line),
        town=made.text("town", plain.compact),
        place_of_birth=made.text("place_of_birth", plain.compact),
        school_at_16=made.text("school_at_16", plain.compact),
    )


# Fields that are read by the same function, and of which values come again and again.
_READ_ALIKE = {
    "given_name": "name",
    "family_name": "name",
    "previous_family_name": "name",
    "preferred_given_name": "name",
    "middle_names": "name",
    "postcode": "postcode",
}


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
        held = self.table.fields.get(field)
        if held is None:
            return np.zeros(self.table.size, np.int64)
        values, places = held
        read = _READ_ALIKE.get(field)
        if read:
            return self.vocabulary.read(read, make, values)[places]
        return self.vocabulary.codes(map(make, values))[places]

    def names(self) -> tuple[Histories, Ints, Ints, Ints]:
        """Current, former and previous names, as `normalise` orders them."""
        rows = [np.arange(self.table.size)]
        given = [self.vocabulary.first_word(self.given)]
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
        history = Histories.of(owner[order], np.arange(len(owner)), self.table.size)
        columns = [np.concatenate(column)[order] for column in (given, family, hows)]
        return history, columns[0], columns[1], columns[2]

    def middle(self) -> NDArray[np.int64]:
        """The first middle names: what stands behind the first given name, then the middle names."""
        rest = self.vocabulary.other_words(self.given)
        names = self.text("middle_names", plain.fold)
        together = self.vocabulary.texts
        different, places = np.unique((rest << 32) | names, return_inverse=True)
        split = np.zeros((len(different), MIDDLES), np.int64)
        for place, pair in enumerate(different.tolist()):
            words = f"{together[pair >> 32]} {together[pair & 0xFFFFFFFF]}".split()[:MIDDLES]
            split[place, : len(words)] = self.vocabulary.codes(words)
        return split[places]

    def birth(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Year, month and day, and all three in one number."""
        values, places = self.table.fields["date_of_birth"]
        dates = [plain.birth_date(value) for value in values]
        year, month, day = np.array(dates, np.int64).reshape(-1, 3).T
        born = np.where((year != 0) & (month != 0) & (day != 0), year * 10_000 + month * 100 + day, 0)
        return year[places], month[places], day[places], born[places]

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
        return Histories.of(rows, codes, self.table.size)


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
