"""The kinds of GIAS file we can read: which columns each has and how they are read. Data in `shapes/*.yaml`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import declarations

Kind = Literal["establishments", "links", "groups", "group_links", "providers", "nations", "ukrlp"]
HERE = Path(__file__).parent


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of the file; `not_kept` ones are known and left out (people's names, repeats of other rows)."""

    column: str
    kind: Literal[
        "not_kept", "text", "long_text", "code", "urn", "la_code", "establishment_number", "ukprn", "group_uid", "uprn",
        "date", "count", "age", "percent", "grid", "postcode", "school_number", "authority_code", "nation",
    ]  # fmt: skip
    fact: str = ""


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of file. A header is of this kind when it has all columns of one set of `known_by`."""

    name: Kind
    title: str
    known_by: tuple[tuple[str, ...], ...]
    mandatory: tuple[str, ...]  # columns without which the whole file is refused
    required: tuple[str, ...]  # facts without which a row is refused
    key: tuple[str, ...]  # facts that no two rows of a file may share
    columns: tuple[Column, ...]
    takes_surplus: str = ""


class Lists(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names to codes, where an extract has the name alone."""

    regions: dict[str, str]
    outside_regions: tuple[str, ...]
    types: dict[str, str]
    academy_trusts: tuple[str, ...]
    performance_pages: dict[str, str]


@cache
def shapes() -> tuple[Shape, ...]:
    """All kinds, the most particular first."""
    names = ("group_links", "links", "groups", "nations", "providers", "establishments")
    return tuple(declarations.load(HERE / "shapes" / f"{name}.yaml", Shape) for name in names)


@cache
def lists() -> Lists:
    """The short code lists."""
    return declarations.load(HERE / "lists.yaml", Lists)


def plain(name: str) -> str:
    """A column's name for comparing: no case, no punctuation (`group_type__code_` is `Group Type (code)`)."""
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def shape_of(header: list[str]) -> Shape | None:
    """The kind of file this header begins; None when it is none of ours."""
    present = {plain(name) for name in header}
    for shape in shapes():
        if any(all(plain(name) in present for name in known) for known in shape.known_by):
            return shape
    return None
