"""From text as given to what is compared."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import msgspec

from commonroom.registers.learners.matching.people import Details, Known

# Letters that no decomposition takes apart.
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"}
)
_APOSTROPHES = re.compile(r"['’‘`´.]")
_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")
# Particles belong to the name behind them: `Mc Donald` is `McDonald`, `O Brien` is `O'Brien`.
_PARTICLES = frozenset(
    ("mc", "mac", "o", "st", "van", "von", "de", "del", "di", "da", "le", "la", "al", "el")
)
_PERMANENT_UPN = re.compile(r"[A-HJ-NP-RT-Z][0-9]{12}")
_ANY_UPN = re.compile(r"[A-HJ-NP-RT-Z][0-9]{11}[0-9A-HJ-NP-RT-Z]")
_BIRTH = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_STREET = {"rd": "road", "st": "street", "ave": "avenue", "av": "avenue", "cl": "close", "ln": "lane", "gdns": "gardens",
           "dr": "drive", "ct": "court", "pl": "place", "cres": "crescent", "tce": "terrace", "gr": "grove"}  # fmt: skip
_TEXTS = 400_000
MOST_MIDDLE_NAMES = 3


class Name(msgspec.Struct, frozen=True):
    """One name a person is or was known by: the first given name and the family name, as `fold` writes them."""

    given: str
    family: str
    # `current`, `former` or `previous`: a match with an older name is worth a little less.
    how: str = "current"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A query or a registered person in the form that is compared. Histories stand behind current values."""

    names: tuple[Name, ...]
    # All given names in one (`maryjane`): names in each other's place are recognised by it.
    whole_given: str
    preferred: str = ""
    middle: tuple[str, ...] = ()
    birth: tuple[int, int, int] = (0, 0, 0)
    gender: str = "0"
    postcodes: tuple[str, ...] = ()
    upns: tuple[str, ...] = ()
    email: str = ""
    house: str = ""
    town: str = ""
    place_of_birth: str = ""
    school_at_16: str = ""


@lru_cache(maxsize=_TEXTS)
def fold(text: str | None) -> str:
    """Small letters without marks, apostrophes or hyphens; words parted by one space, particles joined to their name."""
    if not text:
        return ""
    plain = text.lower().translate(_LETTERS)
    if not plain.isascii():
        plain = "".join(
            letter for letter in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(letter)
        )
    words = _NOT_A_LETTER.sub(" ", _APOSTROPHES.sub("", plain)).split()
    joined: list[str] = []
    carried = ""
    for index, word in enumerate(words):
        if word in _PARTICLES and index + 1 < len(words):
            carried += word
        else:
            joined.append(carried + word)
            carried = ""
    return " ".join(joined)


@lru_cache(maxsize=_TEXTS)
def postcode(text: str | None) -> str:
    """A postcode in capitals without spaces; "" for none and for the forms of no fixed abode (ZZ99)."""
    plain = "".join((text or "").upper().split())[:9]
    return "" if plain.startswith("ZZ99") else plain


@lru_cache(maxsize=_TEXTS)
def birth_date(text: str | None) -> tuple[int, int, int]:
    """Year, month and day, each 0 when not known."""
    found = _BIRTH.fullmatch((text or "").strip())
    if found is None:
        return (0, 0, 0)
    year, month, day = (int(part or 0) for part in found.groups())
    return (year, month, day)


@lru_cache(maxsize=_TEXTS)
def address_line(text: str | None) -> str:
    """A line of an address with the usual short forms written out."""
    return "".join(_STREET.get(word, word) for word in fold(text).split())


@lru_cache(maxsize=_TEXTS)
def compact(text: str | None) -> str:
    """`fold` without spaces."""
    return fold(text).replace(" ", "")


def upn(text: str | None) -> str:
    """A UPN in capitals, "" when it does not have the form of one."""
    plain = (text or "").strip().upper()
    return plain if _ANY_UPN.fullmatch(plain) else ""


def is_permanent(number: str) -> bool:
    """Whether a UPN is a permanent one: only two of those contradict each other."""
    return _PERMANENT_UPN.fullmatch(number) is not None


def named(given: str | None, family: str | None) -> tuple[str, str]:
    """Given and family name, folded; somebody's only name, in either field or in both, is the family name."""
    first, last = fold(given), fold(family)
    if not last:
        return "", first
    return ("", last) if first == last else (first, last)


def normalise(details: Details) -> Prepared:
    """What is compared of `details`."""
    return _prepare(details, (), (details.postcode,), (details.upn,))


def normalise_known(known: Known) -> Prepared:
    """What is compared of a registered person, with its histories."""
    return _prepare(
        known.details,
        known.former_names,
        (known.details.postcode, *known.former_postcodes),
        (known.details.upn, *known.former_upns),
    )


def _prepare(
    details: Details,
    former: tuple[tuple[str, str], ...],
    postcodes: tuple[str | None, ...],
    upns: tuple[str | None, ...],
) -> Prepared:
    given, family = named(details.given_name, details.family_name)
    first, _, more = given.partition(" ")
    names = [Name(first, family)]
    for older_given, older_family in former:
        older, last = named(older_given, older_family)
        names.append(Name(older.partition(" ")[0], last, "former"))
    if details.previous_family_name and (previous := fold(details.previous_family_name)) != family:
        names.append(Name(first, previous, "previous"))
    return Prepared(
        names=tuple(names),
        whole_given=given.replace(" ", ""),
        preferred=fold(details.preferred_given_name).partition(" ")[0],
        middle=tuple(f"{more} {fold(details.middle_names)}".split()[:MOST_MIDDLE_NAMES]),
        birth=birth_date(details.date_of_birth),
        gender=details.gender if details.gender in ("1", "2") else "",
        postcodes=_without_repeats(postcode(text) for text in postcodes),
        upns=_without_repeats(upn(text) for text in upns),
        email=(details.email or "").strip().lower(),
        house=address_line(details.house),
        town=compact(details.town),
        place_of_birth=compact(details.place_of_birth),
        school_at_16=compact(details.school_at_16),
    )


def _without_repeats(values: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))  # type: ignore[attr-defined]
