"""Block keys: two records are compared when they share one. The register is indexed once; the query is expanded."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from commonroom.registers.learners.matching.compare import district
from commonroom.registers.learners.matching.normalise import Name, Prepared
from commonroom.registers.learners.matching.phonetics import soundex

Keys = tuple[tuple[str, str], ...]

# birth + sound of a family name, birth + sound of the given name, birth + district, postcode + birth year,
# family name + sound of the given name + birth year; postcode, and first line of the address, + sound of a name;
# UPN, e-mail. Of who has no birth year: family name + sound of the given name; `fg` is asked by queries without a year,
# `fg0` holds the registered without one.
PASSES = ("bf", "bg", "bd", "py", "fgy", "pg", "pf", "hf", "fg", "fg0", "upn", "email")


def block_keys(known: Prepared) -> Keys:
    """The (pass, key) pairs that are stored beside a registered person. Make `known` by `normalise_known`."""
    year = known.birth[0]
    return tuple(dict.fromkeys((*_keys(known), *_without_year(known, ("fg",) if year else ("fg", "fg0")))))


def query_keys(query: Prepared) -> Keys:
    """The (pass, key) pairs to look up: with day and month swapped, names swapped, previous and middle names."""
    passes = ("fg0",) if query.birth[0] else ("fg", "fg0")
    return tuple(
        dict.fromkeys(key for form in _forms(query) for key in (*_keys(form), *_without_year(form, passes)))
    )


def _without_year(person: Prepared, passes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in person.names:
        if name.given and name.family:
            key = f"{soundex(name.given)}{name.family.replace(' ', '')}"
            yield from ((each, key) for each in passes)


def _forms(query: Prepared) -> Iterator[Prepared]:
    """The query, and what it may have been before somebody slipped."""
    first = query.names[0]
    others = [query.preferred, *query.middle]
    names = [*query.names, *(Name(other, first.family) for other in others if other)]
    if first.given:
        names.append(Name(first.family.replace(" ", ""), query.whole_given))
    whole = msgspec.structs.replace(query, names=tuple(names))
    yield whole
    year, month, day = query.birth
    if day and day != month and day <= 12:
        yield msgspec.structs.replace(whole, birth=(year, day, month))


def _keys(person: Prepared) -> Iterator[tuple[str, str]]:
    year, month, day = person.birth
    born = f"{year:04d}{month:02d}{day:02d}" if year and month and day else ""
    # Somebody's only name may be the given name elsewhere.
    sounds = (soundex(name.given or name.family.replace(" ", "")) for name in person.names)
    givens = dict.fromkeys(sound for sound in sounds if sound)
    families = dict.fromkeys(part for name in person.names for part in family_sounds(name.family))
    if born:
        yield from (("bf", f"{born}{sound}") for sound in families)
        yield from (("bg", f"{born}{sound}") for sound in givens)
        yield from (("bd", f"{born}{place}") for place in dict.fromkeys(map(district, person.postcodes)))
    if year:
        yield from (("py", f"{year:04d}{postcode}") for postcode in person.postcodes)
        for name in person.names:
            if name.given and name.family:
                yield "fgy", f"{year:04d}{soundex(name.given)}{name.family.replace(' ', '')}"
    yield from (("pg", f"{sound}{postcode}") for postcode in person.postcodes for sound in givens)
    yield from (("pf", f"{sound}{postcode}") for postcode in person.postcodes for sound in families)
    if person.house:
        yield from (("hf", f"{sound}{person.house}") for sound in families)
    yield from (("upn", number) for number in person.upns)
    if person.email:
        yield "email", person.email


def family_sounds(family: str) -> Iterator[str]:
    """The sound of a family name and of each of its parts."""
    parts = family.split()
    sounds = (soundex(part) for part in ([family, *parts] if len(parts) > 1 else parts))
    yield from dict.fromkeys(sound for sound in sounds if sound)
