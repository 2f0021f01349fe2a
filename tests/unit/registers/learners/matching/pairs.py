"""The hand-made pairs of tests/data/learners/pairs.csv.

A row is a registered record (r_), an incoming one (i_; "=" is "as registered"), the decision expected and why. `other`
holds further fields as key=value, parted by semicolons.
"""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec

from commonroom.registers.learners.matching import Details, Known

FILE = Path(__file__).parents[4] / "data" / "learners" / "pairs.csv"
_FIELDS = ("given", "middle", "family", "born", "sex", "postcode")
_OTHER = {
    "upn": "upn",
    "email": "email",
    "house": "house",
    "previous": "previous_family_name",
    "preferred": "preferred_given_name",
    "place": "place_of_birth",
    "school": "school_at_16",
}


class Pair(msgspec.Struct, frozen=True):
    """One case."""

    id: str
    expected: str
    reason: str
    known: Known
    query: Details


def pairs() -> list[Pair]:
    """All cases, in the order of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [_pair(row) for row in csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE)]


def _pair(row: dict[str, str]) -> Pair:
    registered = {field: row[f"r_{field}"] for field in _FIELDS}
    incoming = {
        field: registered[field] if row[f"i_{field}"] == "=" else row[f"i_{field}"] for field in _FIELDS
    }
    other = _other(row["r_other"])
    known = Known(
        person=row["id"],
        details=_details(registered, other),
        former_names=tuple(
            (given, family)
            for given, _, family in (name.partition("/") for name in _list(other, "former_names"))
        ),
        former_postcodes=tuple(_list(other, "former_postcodes")),
        former_upns=tuple(_list(other, "former_upns")),
    )
    return Pair(row["id"], row["expected"], row["reason"], known, _details(incoming, _other(row["i_other"])))


def _other(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in text.split(";") if item)


def _list(other: dict[str, str], key: str) -> list[str]:
    return [item for item in other.get(key, "").split(",") if item]


def _details(fields: dict[str, str], other: dict[str, str]) -> Details:
    return Details(
        given_name=fields["given"],
        family_name=fields["family"],
        middle_names=fields["middle"] or None,
        date_of_birth=fields["born"],
        gender=fields["sex"],
        postcode=fields["postcode"] or None,
        **{field: other[key] for key, field in _OTHER.items() if key in other},
    )
