"""From text as given to what is compared."""

from __future__ import annotations

import msgspec

from commonroom.registers.learners.matching.people import Details, Known


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A query or a registered person in the form that is compared. Histories stand behind current values."""

    names: tuple[tuple[str, str], ...]
    birth: tuple[int, int, int]
    gender: str
    postcodes: tuple[str, ...] = ()
    middle: str = ""
    upns: tuple[str, ...] = ()
    email: str = ""
    house: str = ""
    place_of_birth: str = ""
    school_at_16: str = ""


def normalise(details: Details) -> Prepared:
    """What is compared of `details`."""
    raise NotImplementedError


def normalise_known(known: Known) -> Prepared:
    """What is compared of a registered person, with its histories."""
    raise NotImplementedError
