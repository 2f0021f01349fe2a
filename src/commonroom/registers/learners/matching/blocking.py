"""Block keys in columns: the same passes as `keys`, as numbers, for batches against a register in memory."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from commonroom.registers.learners.matching.name_levels import NameLevels
from commonroom.registers.learners.matching.people_columns import People
from commonroom.registers.learners.matching.vocabulary import Bools, Ints

Keyed = tuple[str, Ints, Ints]

# An odd number whose multiples scatter keys over the buckets.
_SCATTER = np.uint64(0x9E3779B97F4A7C15)


class Index:
    """A register's keys in buckets, so that a batch finds its candidates at once."""

    def __init__(self, register: People) -> None:
        self.register = register
        gathered: dict[str, list[tuple[Ints, Ints]]] = {}
        form = _Form.of(register)
        nobody = register.year[form.rows] == 0
        stored = (
            *_keys(register, form),
            *_without_year(register, form, ("fg", np.ones_like(nobody)), ("fg0", nobody)),
        )
        for name, rows, keys in stored:
            gathered.setdefault(name, []).append((rows, keys))
        self._passes: dict[str, _Pass] = {}
        for name, parts in gathered.items():
            rows, keys = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
            if len(rows):
                self._passes[name] = _Pass(rows, keys)
        # What batches will ask of the register's names is worked out before the first one comes.
        vocabulary = register.vocabulary
        for kind, codes in (("given", register.given), ("family", register.family)):
            NameLevels(vocabulary, kind).prepare(np.unique(codes))
        vocabulary.packed(np.unique(register.postcodes.codes))
        vocabulary.together(register.given[:1], register.family[:1])

    def candidates(self, queries: People) -> tuple[Ints, Ints]:
        """Positions of queries and of registered persons that share a key, each pair once."""
        found = [
            self._passes[name].find(rows, keys)
            for form in _forms(queries)
            for name, rows, keys in (*_keys(queries, form), *self._asked_without_year(queries, form))
            if name in self._passes
        ]
        pairs = np.concatenate(found) if found else np.zeros(0, np.int64)
        pairs.sort()
        pairs = pairs[np.concatenate([np.ones(min(1, len(pairs)), np.bool_), pairs[1:] != pairs[:-1]])]
        return pairs >> 32, pairs & 0xFFFFFFFF

    def _asked_without_year(self, queries: People, form: _Form) -> Iterator[Keyed]:
        nobody = queries.year[form.rows] == 0
        if form.birth_alone or not (nobody.any() or "fg0" in self._passes):
            return iter(())
        return _without_year(queries, form, ("fg", nobody), ("fg0", np.ones_like(nobody)))


class _Pass:
    """The keys of one pass: those of bucket i are `keys[start[i]:start[i + 1]]`, and their persons in `rows`."""

    def __init__(self, rows: Ints, keys: Ints) -> None:
        self._shift = np.uint64(64 - max(1, (len(keys) - 1).bit_length()))
        buckets = self._buckets(keys)
        order = np.argsort(buckets, kind="stable")
        self._keys, self._rows = keys[order], rows[order].astype(np.int32)
        count = np.bincount(buckets, minlength=1 << (64 - int(self._shift)))
        self._start = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)]).astype(np.int32)

    def _buckets(self, keys: Ints) -> Ints:
        return ((keys.view(np.uint64) * _SCATTER) >> self._shift).view(np.int64)

    def find(self, rows: Ints, keys: Ints) -> Ints:
        """Pairs (row << 32) | person for each row whose key a person has."""
        buckets = self._buckets(keys)
        first = self._start[buckets].astype(np.int64)
        count = self._start[buckets + 1] - first
        places = spread(first, count)
        same = np.flatnonzero(self._keys[places] == np.repeat(keys, count))
        return (np.repeat(rows, count)[same] << 32) | self._rows[places[same]]


def spread(first: Ints, count: Ints) -> Ints:
    """first, first + 1 ... count times, one after the other."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - count, count) + np.repeat(first, count)


class _Form(msgspec.Struct, frozen=True):
    """Records as they are, or as they may have been: names of rows, and the date of birth."""

    rows: Ints
    given: Ints
    family: Ints
    year: Ints
    month: Ints
    day: Ints
    # The form differs from the record in the date of birth alone.
    birth_alone: bool = False

    @staticmethod
    def of(people: People) -> _Form:
        owner = np.repeat(np.arange(people.size), np.diff(people.names.start))
        return _Form(owner, people.given, people.family, people.year, people.month, people.day)


def _forms(queries: People) -> Iterator[_Form]:
    """As `keys.query_keys`: other given names, names in each other's place, day and month swapped."""
    form = _Form.of(queries)
    first = queries.names.start[:-1]
    family = queries.family[first]
    rows, given, families = [form.rows], [form.given], [form.family]
    for other in (queries.preferred, *queries.middle.T):
        held = np.flatnonzero(other)
        rows.append(held)
        given.append(other[held])
        families.append(family[held])
    named = np.flatnonzero(queries.given[first])
    rows.append(named)
    given.append(queries.family_whole[first][named])
    families.append(queries.whole_given[named])
    whole = msgspec.structs.replace(
        form, rows=np.concatenate(rows), given=np.concatenate(given), family=np.concatenate(families)
    )
    yield whole
    turned = (queries.day != 0) & (queries.day <= 12) & (queries.day != queries.month)
    kept = turned[whole.rows]
    yield _Form(
        whole.rows[kept],
        whole.given[kept],
        whole.family[kept],
        queries.year,
        np.where(turned, queries.day, 0),
        np.where(turned, queries.month, 0),
        birth_alone=True,
    )


def _keys(people: People, form: _Form) -> Iterator[Keyed]:
    vocabulary = people.vocabulary
    whole_family = vocabulary.whole(form.family)
    alone = np.where(form.given != 0, form.given, whole_family)
    sound = vocabulary.soundex(alone)
    born = form.year * 10_000 + form.month * 100 + form.day
    known = (form.day != 0) & (form.month != 0)
    dated = known[form.rows] & (sound != 0)
    rows = form.rows[dated]
    for part_rows, part in _family_parts(people, form):
        sounds = vocabulary.soundex(part)
        kept = known[part_rows] & (sounds != 0)
        yield "bf", part_rows[kept], (born[part_rows[kept]] << 15) | sounds[kept]
        if not form.birth_alone:
            sounding = sounds != 0
            yield from _at_home(people, part_rows[sounding], sounds[sounding])
    yield "bg", rows, (born[rows] << 15) | sound[dated]
    homes = np.repeat(np.arange(people.size), np.diff(people.postcodes.start))
    places = vocabulary.district(people.postcodes.codes)
    homed = known[homes]
    yield "bd", homes[homed], (born[homes[homed]] << 32) | places[homed]
    if form.birth_alone:
        return
    years = form.year[homes] != 0
    yield "py", homes[years], (form.year[homes[years]] << 32) | people.postcodes.codes[years]
    both = (form.given != 0) & (form.family != 0) & (form.year[form.rows] != 0)
    rows = form.rows[both]
    yield "fgy", rows, (((form.year[rows] << 15) | sound[both]) << 32) | whole_family[both]
    yield "pg", *_with_postcodes(people, form.rows[sound != 0], sound[sound != 0])
    yield "upn", np.repeat(np.arange(people.size), np.diff(people.upns.start)), people.upns.codes
    mailed = np.flatnonzero(people.email)
    yield "email", mailed, people.email[mailed]


def _at_home(people: People, rows: Ints, sounds: Ints) -> Iterator[Keyed]:
    """Postcode, and first line of the address, with the sound of a family name."""
    yield "pf", *_with_postcodes(people, rows, sounds)
    housed = people.house[rows] != 0
    yield "hf", rows[housed], (sounds[housed] << 32) | people.house[rows[housed]]


def _with_postcodes(people: People, rows: Ints, sounds: Ints) -> tuple[Ints, Ints]:
    count = people.postcodes.count(rows)
    codes = people.postcodes.codes[spread(people.postcodes.start[rows], count)]
    return np.repeat(rows, count), (np.repeat(sounds, count) << 32) | codes


def _without_year(people: People, form: _Form, *passes: tuple[str, Bools]) -> Iterator[Keyed]:
    """Family name and sound of the given name, for the rows of each pass."""
    named = (form.given != 0) & (form.family != 0)
    keys = (people.vocabulary.soundex(form.given) << 32) | people.vocabulary.whole(form.family)
    for name, wanted in passes:
        kept = named & wanted
        yield name, form.rows[kept], keys[kept]


def _family_parts(people: People, form: _Form) -> Iterator[tuple[Ints, Ints]]:
    """The rows of each family name and of each part of one."""
    yield form.rows, form.family
    vocabulary = people.vocabulary
    # The name from its second word on, and from there again: what stands in front is a part.
    rows, rest = form.rows, form.family
    held = np.flatnonzero(vocabulary.other_words(rest))
    while len(held):
        rows, rest = rows[held], rest[held]
        yield rows, vocabulary.first_word(rest)
        rest = vocabulary.other_words(rest)
        last = np.flatnonzero(vocabulary.other_words(rest) == 0)
        yield rows[last], rest[last]
        held = np.flatnonzero(vocabulary.other_words(rest))
