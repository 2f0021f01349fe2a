"""What the matcher is told and what it answers. Values only: no database, no HTTP."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

Outcome = Literal["existing", "review", "new", "too_many"]


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says about a person. Text as given; `matching.normalise` makes what is compared.

    Somebody with one name has it as the family name, with an empty given name. A date of birth of which the day or the
    month is not known is `2009-03` or `2009`, and `` when nothing is known.
    """

    given_name: str
    family_name: str
    date_of_birth: str
    gender: str = "0"
    postcode: str | None = None
    middle_names: str | None = None
    previous_family_name: str | None = None
    preferred_given_name: str | None = None
    upn: str | None = None
    email: str | None = None
    house: str | None = None
    town: str | None = None
    place_of_birth: str | None = None
    school_at_16: str | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A registered person as the matcher sees it: current values and every historic name, postcode and UPN.

    `person` is any hashable key; the register's is a UUID.
    """

    person: Hashable
    details: Details
    former_names: tuple[tuple[str, str], ...] = ()
    former_postcodes: tuple[str, ...] = ()
    former_upns: tuple[str, ...] = ()


class Part(msgspec.Struct, frozen=True):
    """One step of the waterfall: what a comparison found and what it weighs, in bits."""

    field: str
    level: str
    weight: float


class Weighed(msgspec.Struct, frozen=True):
    """A registered person beside the query: the weight in bits, its parts, and the guard that holds it back.

    `guard` is None, `twin`, `different`, `upn`, `birth`, `names` or `file`. Of `different` it is certain that it is
    somebody else.
    """

    person: Hashable
    weight: float
    parts: tuple[Part, ...]
    guard: str | None


class Overrides(msgspec.Struct, frozen=True):
    """What clerks decided before about this query: persons it is, and persons it is not."""

    same: frozenset[Hashable] = frozenset()
    different: frozenset[Hashable] = frozenset()


class Decision(msgspec.Struct, frozen=True):
    """What is done with a query, the candidates best first (ten at most), and which parameters decided.

    `person` is set when the outcome is `existing`. `guard` says why a clerk is asked: the guard of the best candidate,
    `margin` when the second is too near, or None when the weight alone is not enough.
    """

    outcome: Outcome
    person: Hashable | None
    candidates: tuple[Weighed, ...]
    guard: str | None
    model: str
