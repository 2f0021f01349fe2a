"""The modules, items and code lists of the census of children in need against the published schemas of each year."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from commonroom import standard
from commonroom.collections.loader import load
from commonroom.collections.model import Collection
from commonroom.collections.xsd import schema_of
from tests.specification.collections.xsd_reader import Element, elements

YEARS = (2023, 2024, 2025, 2026)
CHILD = "Message/Children/Child"

# Where ours differs, and why. The rules and not the schema judge what is wider here, with better words.
WIDER = {
    # Rule 8590 speaks of a child without an episode.
    f"{CHILD}/CINdetails": ("least",),
    # The rules also take true and false.
    f"{CHILD}/CINdetails/ReferralNFA": ("values",),
    f"{CHILD}/CINdetails/Section47/ICPCnotRequired": ("values",),
    # Rule 8866 wants no source for a referral before April 2013.
    f"{CHILD}/CINdetails/ReferralSource": ("least",),
    # `header` compares these with what the collection says.
    "Message/Header/CollectionDetails/Collection": ("values",),
    "Message/Header/CollectionDetails/Year": ("base",),
    "Message/Header/Source/SourceLevel": ("values",),
}
NARROWER = {
    # A return without a header, or with two senders, cannot be worked with.
    "Message/Header": ("least",),
    "Message/Header/CollectionDetails": ("least",),
    "Message/Header/CollectionDetails/ReferenceDate": ("least",),
    "Message/Header/Source": ("least", "most"),
}
# New in 2026, and in no published schema.
ADDED = {f"{CHILD}/CINdetails/PreProceedingsandFGDM"}


def published(shared: Path, year: int) -> dict[str, Element]:
    file = shared / "standards" / "files" / "cin" / "xsd" / f"CIN_schema_{year}.xsd"
    if not file.is_file():
        pytest.skip("no shared data folder")
    return elements(file.read_bytes(), "Message")


def ours(collection: Collection) -> dict[str, Element]:
    found = elements(schema_of(collection), "Message")
    return {path: one for path, one in found.items() if not any(path.startswith(added) for added in ADDED)}


@pytest.mark.parametrize("year", YEARS)
def test_elements_stand_in_the_published_places_and_order(shared: Path, year: int) -> None:
    assert list(ours(load("cin", year))) == list(published(shared, year))


@pytest.mark.parametrize("year", YEARS)
def test_types_code_lists_and_numbers_are_the_published_ones(shared: Path, year: int) -> None:
    theirs = published(shared, year)
    different = {}
    for path, own in ours(load("cin", year)).items():
        parts = [
            part
            for part in ("least", "most", "base", "values")
            if getattr(own, part) != getattr(theirs[path], part)
        ]
        if parts:
            different[path] = tuple(parts)
    assert different == WIDER | NARROWER


def test_only_the_census_of_2026_has_the_work_before_proceedings(shared: Path) -> None:
    module = "PreProceedingsandFGDM"
    assert [module in load("cin", year).modules for year in YEARS] == [False, False, False, True]
    sample = shared / "standards" / "files" / "cin" / "fake_data" / "CIN_Census_2026.xml"
    in_sample = [child.tag for child in etree.parse(str(sample)).iterfind(f".//{module}/*")]
    assert in_sample == [item.name for item in load("cin", 2026).modules[module].items]


def test_sex_took_the_place_of_gender_in_2025() -> None:
    names = [
        set(load("cin", year).modules["ChildIdentifiers"].by_name) & {"Sex", "GenderCurrent"}
        for year in YEARS
    ]
    assert names == [{"GenderCurrent"}, {"GenderCurrent"}, {"Sex"}, {"Sex"}]


@pytest.mark.parametrize("year", YEARS)
def test_items_of_the_child_are_items_of_the_standard_with_the_same_marks(year: int) -> None:
    entities = standard.load().entities
    without = set()
    for module in load("cin", year).modules.values():
        for item in module.items:
            if item.item is None:
                without |= {f"{module.name}.{item.name}"} if module.name != "Header" else set()
                continue
            entity, _, name = item.item.partition(".")
            assert entity == module.entity
            meant = entities[entity].item(name)
            assert meant is not None
            assert (meant.codeset, meant.personal, meant.cbds_now) == (item.codeset, item.personal, item.cbds)
            assert meant.type == item.type or (meant.type, item.type) == ("identifier", "string")
    # Sex took the place of this one; the standard has it no more.
    assert without == ({"ChildIdentifiers.GenderCurrent"} if year < 2025 else set())
